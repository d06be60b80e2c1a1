"""What a system told, held to the truth: pure functions of small values.

Frames are told apart by their index; all times are frames until they are shown. A *sighting* is what the truth and a
system say of one face in one frame; a *visit* is a run of frames in which a face is in sight, or hidden for a moment.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from fer_bench.pipeline.scoring import match_boxes
from fer_bench.sequence.cast import Segment
from fer_bench.sequence.scenes import TrueFace
from fer_bench.sequence.systems import Told
from fer_edge.types import UNCERTAIN

LEAST_IOU = 0.5
"""Intersection over union from which a box lies on a face."""
GHOST_IOU = 0.1
"""Intersection over union with every face below which a box lies on the background: the threshold of background errors
of Bolya et al., "TIDE", ECCV 2020. From there to ``LEAST_IOU`` it lies on a face, but badly."""
LEAST_VISIBLE = 0.5
"""Share of a face that must be visible for it to be looked for; one that is less so is neither missed nor false."""
LONGEST_GAP_FRAMES = 15
"""A face that was hidden for no longer, 1 s, is still the one that was there: its id should be, too."""
WHOLE = 0.95
"""Share from which a face is wholly in the picture."""
SETTLED_FRAMES = 15
"""A true change counts when the face was in sight for so long before it, and twice as long after it: 1 and 2 s."""


@dataclass(frozen=True, slots=True)
class Sighting:
    """Face ``number`` in frame ``index``: how much of it could be seen, and what was told of it (None: nothing).

    ``looked`` is False where the system was not shown the frame.
    """

    index: int
    number: int
    visible: float
    row: int
    told: Told | None
    looked: bool = True


@dataclass(frozen=True, slots=True)
class Surplus:
    """Boxes of one frame that match no face.

    ``false`` ones lie on no face by ``LEAST_IOU``, or are the second on one; ``ghosts`` are those on the background.
    """

    false: int = 0
    ghosts: int = 0


def sightings(index: int, faces: Sequence[TrueFace], told: Sequence[Told] | None) -> tuple[list[Sighting], Surplus]:
    """Return a sighting for each face of frame ``index``, and what was told beyond them.

    ``told`` is None for a frame that the system was not shown.
    """
    there = [face for face in faces if face.visible > 0]
    if told is None:
        return [Sighting(index, face.number, face.visible, face.row, None, looked=False) for face in there], Surplus()
    partner = match_boxes([face.box for face in there], [answer.box for answer in told], LEAST_IOU)
    seen = [
        Sighting(index, face.number, face.visible, face.row, told[partner[i]] if i in partner else None)
        for i, face in enumerate(there)
    ]
    ghosts = sum(all(face.box.iou(answer.box) < GHOST_IOU for face in there) for answer in told)
    return seen, Surplus(len(told) - len(partner), ghosts)


def visits(seen: Iterable[Sighting]) -> list[list[Sighting]]:
    """The visits of one face, from its sightings in order: those that are visible enough, without a long gap."""
    found: list[list[Sighting]] = []
    for sighting in seen:
        if sighting.visible < LEAST_VISIBLE:
            continue
        if found and sighting.index - found[-1][-1].index <= LONGEST_GAP_FRAMES:
            found[-1].append(sighting)
        else:
            found.append([sighting])
    return found


def id_switches(visit: Iterable[Sighting]) -> int:
    """How often the face got another track than the last one it had."""
    ids = [sighting.told.track_id for sighting in visit if sighting.told is not None]
    return sum(before != after for before, after in pairwise(ids))


@dataclass(frozen=True, slots=True)
class Acquired:
    """``frames`` from when a face could be found until a box lay on it; None: never while it was there."""

    frames: int | None


def acquired(visit: Sequence[Sighting], findable: Callable[[int], bool]) -> Acquired | None:
    """How long a face that came took to be found; None when it never could be.

    It can be from when it is wholly in the picture and shows an image that is ``findable``.
    """
    whole = next((seen.index for seen in visit if seen.visible >= WHOLE and findable(seen.row)), None)
    if whole is None:
        return None
    found = next((sighting.index for sighting in visit if sighting.told is not None), None)
    return Acquired(None if found is None else max(0, found - whole))


@dataclass(frozen=True, slots=True)
class TrueChange:
    """A face's label became ``to`` with frame ``at``, and stays so up to, not including, frame ``until``.

    ``counted``: whether it must be reported; where it need not be, it may be, and is no false change.
    """

    at: int
    until: int
    to: str
    counted: bool = True


def true_changes(
    visit: Sequence[Sighting], segments: Sequence[Segment], says: Sequence[str | None]
) -> list[TrueChange]:
    """The true changes within ``visit``; ``says`` is what each segment's face is to be called (None: who knows).

    A change is to a segment with a name from one with another or none. It counts when both have one, and when the face
    was in sight for long enough around it (``SETTLED_FRAMES``).
    """
    first, last = visit[0].index, visit[-1].index + 1
    found = []
    for number in range(1, len(segments)):
        before, name = says[number - 1], says[number]
        at, until = segments[number].start, min(segments[number].end, last)
        if name is None or name == before or not first < at < until:
            continue
        in_time = at - max(first, segments[number - 1].start) >= SETTLED_FRAMES and until - at >= 2 * SETTLED_FRAMES
        found.append(TrueChange(at, until, name, counted=in_time and before is not None))
    return found


@dataclass(frozen=True, slots=True)
class Changes:
    """Of the ``shown`` true changes of a face that count those that were reported, with their ``delays`` in frames;
    ``false`` is the number of changes told of it that are not true, in ``judged`` frames."""

    shown: int
    delays: tuple[int, ...]
    false: int
    judged: int


def judge_changes(visit: Sequence[Sighting], segments: Sequence[Segment], says: Sequence[str | None]) -> Changes:
    """Which of the changes told of a face are true.

    A told change is from one label to another; frames without the face, or with "uncertain", are no label, and over
    frames that were not shown nothing is compared. A true change is reported by the first told change to its label
    while that lasts; a label that was told already, by mistake, reports nothing. Every other told change is false, the
    late correction of a mistake too, except in segments without a name: what is told there is not judged.
    """
    named = [segment for segment, name in zip(segments, says, strict=True) if name is not None]

    def judged(at: int) -> bool:
        return any(segment.start <= at < segment.end for segment in named)

    told = told_changes(visit)
    true, delays = 0, []
    truth = true_changes(visit, segments, says)
    for change in truth:
        reported = next((at for at, to in told if change.at <= at < change.until and to == change.to), None)
        if reported is not None:
            true += 1
            delays += [reported - change.at] if change.counted else []
    return Changes(
        shown=sum(change.counted for change in truth),
        delays=tuple(delays),
        false=sum(judged(at) for at, _ in told) - true,
        judged=sum(sighting.looked and judged(sighting.index) for sighting in visit),
    )


def told_changes(visit: Iterable[Sighting]) -> list[tuple[int, str]]:
    """Frame and new label of each change of the label told."""
    found: list[tuple[int, str]] = []
    last: str | None = None
    for sighting in visit:
        if not sighting.looked:
            last = None
        if sighting.told is None or sighting.told.label == UNCERTAIN:
            continue
        if last is not None and sighting.told.label != last:
            found.append((sighting.index, sighting.told.label))
        last = sighting.told.label
    return found


def by_number(seen: Iterable[Sighting]) -> Mapping[int, list[Sighting]]:
    """The sightings of each face, in order."""
    found: dict[int, list[Sighting]] = {}
    for sighting in seen:
        found.setdefault(sighting.number, []).append(sighting)
    return found
