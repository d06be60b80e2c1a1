"""Score the faces that a system reports against the truth.

All times are in frames. A *sighting* is one face in one frame, with what the system reported. A *visit* is a run of
frames in which a face is in sight, or hidden for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fer_bench.pipeline.scoring import match_boxes
from fer_bench.sequence.cast import Segment
from fer_bench.sequence.scenes import TrueFace
from fer_bench.sequence.systems import ReportedFace
from fer_edge.types import UNCERTAIN

MIN_IOU = 0.5
"""Intersection over union from which a box is on a face."""
GHOST_IOU = 0.1
"""A box is on the background if its intersection over union with every face is below this: the threshold for background
errors of Bolya et al., "TIDE", ECCV 2020. Between this and ``MIN_IOU`` it is a badly placed box of a face."""
MIN_VISIBLE = 0.5
"""Share of a face that must be visible for it to count. A less visible face is neither missed nor a false box."""
MAX_GAP_FRAMES = 15
"""A face that was hidden for up to 1 s must keep its id."""
WHOLE = 0.95
"""Visible share from which a face counts as completely in the picture."""
SETTLED_FRAMES = 15
"""A true change counts if the face was in sight for this long before it, and twice as long after it: 1 and 2 s."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Face ``number`` in frame ``index``: its visible share, and the reported face (None: not found).

    ``looked`` is False if the system was not shown the frame.
    """

    index: int
    number: int
    visible: float
    row: int
    reported: ReportedFace | None
    looked: bool = True


@dataclass(frozen=True, slots=True)
class Surplus:
    """Numbers of boxes of one frame that do not match a face.

    ``false`` counts boxes that are not on a face by ``MIN_IOU``, and second boxes on a face. ``ghosts`` counts boxes on
    the background.
    """

    false: int = 0
    ghosts: int = 0


def sightings(
    index: int, faces: Sequence[TrueFace], reported: Sequence[ReportedFace] | None
) -> tuple[list[Sighting], Surplus]:
    """Return a sighting for each face of frame ``index``, and the surplus boxes.

    ``reported`` is None for a frame that the system was not shown.
    """
    there = [face for face in faces if face.visible > 0]
    if reported is None:
        return [Sighting(index, face.number, face.visible, face.row, None, looked=False) for face in there], Surplus()
    partner = match_boxes([face.box for face in there], [answer.box for answer in reported], MIN_IOU)
    seen = [
        Sighting(index, face.number, face.visible, face.row, reported[partner[i]] if i in partner else None)
        for i, face in enumerate(there)
    ]
    ghosts = sum(all(face.box.iou(answer.box) < GHOST_IOU for face in there) for answer in reported)
    return seen, Surplus(len(reported) - len(partner), ghosts)


def visits(seen: Iterable[Sighting]) -> list[list[Sighting]]:
    """Return the visits of one face: its sightings in order, split at long gaps, without barely visible ones."""
    found: list[list[Sighting]] = []
    for sighting in seen:
        if sighting.visible < MIN_VISIBLE:
            continue
        if found and sighting.index - found[-1][-1].index <= MAX_GAP_FRAMES:
            found[-1].append(sighting)
        else:
            found.append([sighting])
    return found


def id_switches(visit: Iterable[Sighting]) -> int:
    """Return how often the id of the face changed."""
    ids = [sighting.reported.track_id for sighting in visit if sighting.reported is not None]
    return sum(before != after for before, after in pairwise(ids))


@dataclass(frozen=True, slots=True)
class Acquired:
    """``frames`` from when a face could be found until it had a box; None: it never had one."""

    frames: int | None


def acquired(visit: Sequence[Sighting], findable: Callable[[int], bool]) -> Acquired | None:
    """Return how long it took until a new face was found; None if it could not be found.

    It can be found as soon as it is completely in the picture and shows an image that is ``findable``.
    """
    whole = next((seen.index for seen in visit if seen.visible >= WHOLE and findable(seen.row)), None)
    if whole is None:
        return None
    found = next((sighting.index for sighting in visit if sighting.reported is not None), None)
    return Acquired(None if found is None else max(0, found - whole))


@dataclass(frozen=True, slots=True)
class TrueChange:
    """A face's label changed to ``to`` at frame ``at``, and stays until the frame before ``until``.

    ``counted`` is False if it need not be reported; if it is reported, it is not a false change.
    """

    at: int
    until: int
    to: str
    counted: bool = True


def true_changes(
    visit: Sequence[Sighting], segments: Sequence[Segment], labels: Sequence[str | None]
) -> list[TrueChange]:
    """Return the true changes of label within ``visit``.

    ``labels`` has the label of each segment; None if it is unknown. A change is to a segment with a label from one with
    another label or none. It counts if both segments have a label and the face was in sight for long enough before and
    after it (``SETTLED_FRAMES``).
    """
    first, last = visit[0].index, visit[-1].index + 1
    found = []
    for number in range(1, len(segments)):
        before, name = labels[number - 1], labels[number]
        at, until = segments[number].start, min(segments[number].end, last)
        if name is None or name == before or not first < at < until:
            continue
        in_time = at - max(first, segments[number - 1].start) >= SETTLED_FRAMES and until - at >= 2 * SETTLED_FRAMES
        found.append(TrueChange(at, until, name, counted=in_time and before is not None))
    return found


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes of one face: the number of true ones that count, the delays in frames of those that were reported, and
    the number of false ones in ``judged`` frames."""

    shown: int
    delays: tuple[int, ...]
    false: int
    judged: int


def judge_changes(visit: Sequence[Sighting], segments: Sequence[Segment], labels: Sequence[str | None]) -> Changes:
    """Compare the reported changes of a face with the true ones.

    A reported change is from one label to another. Frames without the face, or with "uncertain", do not have a label,
    and labels are not compared across frames that the system was not shown. A true change is reported by the first
    reported change to its label while that lasts. Every other reported change is false, including the late correction
    of a mistake, except in segments without a label.
    """
    named = [segment for segment, name in zip(segments, labels, strict=True) if name is not None]

    def judged(at: int) -> bool:
        return any(segment.start <= at < segment.end for segment in named)

    reported = reported_changes(visit)
    true, delays = 0, []
    truth = true_changes(visit, segments, labels)
    for change in truth:
        hit = next((at for at, to in reported if change.at <= at < change.until and to == change.to), None)
        if hit is not None:
            true += 1
            delays += [hit - change.at] if change.counted else []
    return Changes(
        shown=sum(change.counted for change in truth),
        delays=tuple(delays),
        false=sum(judged(at) for at, _ in reported) - true,
        judged=sum(sighting.looked and judged(sighting.index) for sighting in visit),
    )


def reported_changes(visit: Iterable[Sighting]) -> list[tuple[int, str]]:
    """Return the frame and new label of each change of the reported label."""
    found: list[tuple[int, str]] = []
    last: str | None = None
    for sighting in visit:
        if not sighting.looked:
            last = None
        if sighting.reported is None or sighting.reported.label == UNCERTAIN:
            continue
        if last is not None and sighting.reported.label != last:
            found.append((sighting.index, sighting.reported.label))
        last = sighting.reported.label
    return found


def by_number(seen: Iterable[Sighting]) -> Mapping[int, list[Sighting]]:
    """Return the sightings of each face, in order."""
    found: dict[int, list[Sighting]] = {}
    for sighting in seen:
        found.setdefault(sighting.number, []).append(sighting)
    return found
