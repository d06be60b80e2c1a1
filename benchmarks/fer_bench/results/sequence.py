"""Moving faces, as a part of a report: what ``fer-edge bench sequence`` measures, as counts that can be summed."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from msgspec import Meta

from fer_bench.results.section import Amount, Count, CountFrom1, Positive, Section, Sha256, Text

FER_EDGE = "fer-edge"
FULL_SEARCHES = {"full (1.1, 5)": 1.1, "full (1.3, 5)": 1.3}
"""Names and scale factors of detectMultiScale on the whole frame at full resolution, with 5 neighbors."""
FER_EDGE_YUNET, FULL_YUNET = "fer-edge, yunet", "full yunet"
"""FER-Edge with YuNet, and YuNet on the whole frame at full resolution; measured if its model file is given."""


class SequenceSettings(Section, frozen=True):
    """Which sequences were shown."""

    kinds: Annotated[tuple[Text, ...], Meta(min_length=1)]
    width: CountFrom1
    height: CountFrom1
    frames: Annotated[CountFrom1, Meta(description="Frames of a sequence.")]
    fps: Annotated[Positive, Meta(description="Frames per second of the sequence's own time.")]
    rounds: Annotated[CountFrom1, Meta(description="Rounds, each with other faces.")]
    baseline_every: Annotated[
        Count, Meta(description="Full searches were shown one second out of this many; 0: they were not measured.")
    ]
    config: Annotated[
        str | None, Meta(description="SHA-256 of FER-Edge's settings as TOML; null for the defaults.")
    ] = None
    yunet: Annotated[
        str | None, Meta(description="SHA-256 of the YuNet model that was also measured; null for none.")
    ] = None


class CastInfo(Section, frozen=True):
    """The images that the faces show."""

    name: str
    split: Annotated[str, Meta(pattern="^(PublicTest|PrivateTest)$", extra={"allowed": "PublicTest or PrivateTest"})]
    rows_sha256: Sha256
    by_votes: Annotated[bool, Meta(description="Whether they were chosen by the agreement of FER+'s raters.")]
    left_out: Annotated[tuple[str, ...], Meta(description="Labels with too few images.")]
    candidates: Annotated[CountFrom1, Meta(description="Images to choose from.")]
    shown: Annotated[Count, Meta(description="Distinct images that were shown.")]
    findable: Annotated[Count, Meta(description="Of these, the images that Haar detects upright, clean and alone.")]


class FaceFrames(Section, frozen=True):
    """Faces and boxes, counted over frames."""

    frames: Count = 0
    false_frames: Annotated[
        Count, Meta(description="Frames with a box that is not on a face, or a second box on a face.")
    ] = 0
    ghost_frames: Annotated[Count, Meta(description="Frames with a box on the background.")] = 0
    shown: Annotated[Count, Meta(description="Faces, summed over the frames.")] = 0
    matched: Annotated[Count, Meta(description="Of these, the faces with a box.")] = 0
    findable_shown: Annotated[Count, Meta(description="Faces whose image Haar detects upright, clean and alone.")] = 0
    findable_matched: Annotated[Count, Meta(description="Of these, the faces with a box.")] = 0

    def __add__(self, other: FaceFrames) -> FaceFrames:
        return FaceFrames(
            self.frames + other.frames,
            self.false_frames + other.false_frames,
            self.ghost_frames + other.ghost_frames,
            self.shown + other.shown,
            self.matched + other.matched,
            self.findable_shown + other.findable_shown,
            self.findable_matched + other.findable_matched,
        )


class ChangeScore(Section, frozen=True):
    """Changes of a face's label."""

    shown: Annotated[Count, Meta(description="True changes.")] = 0
    delays_s: Annotated[tuple[Amount, ...], Meta(description="Delay of each true change that was reported.")] = ()
    false: Annotated[Count, Meta(description="Reported changes that are not true.")] = 0
    judged_s: Annotated[Amount, Meta(description="Seconds of faces in sight in which false changes are counted.")] = 0.0

    def __add__(self, other: ChangeScore) -> ChangeScore:
        return ChangeScore(
            self.shown + other.shown,
            self.delays_s + other.delays_s,
            self.false + other.false,
            self.judged_s + other.judged_s,
        )


class Score(Section, frozen=True):
    """One system on the sequences of one kind."""

    cpu_s: Annotated[Amount, Meta(description="Processor time of the process for the frames of ``faces``.")] = 0.0
    faces: Annotated[FaceFrames, Meta(description="All frames that the system was shown.")] = FaceFrames()
    shared: Annotated[FaceFrames, Meta(description="The frames that all systems were shown.")] = FaceFrames()
    sight_s: Annotated[Amount, Meta(description="Seconds in which faces were in sight, summed over the faces.")] = 0.0
    id_switches: Count = 0
    visits: Annotated[Count, Meta(description="How often a face came into sight.")] = 0
    acquired_s: Annotated[tuple[Amount, ...], Meta(description="Time until detection, of each visit with one.")] = ()
    by_answer: Annotated[
        ChangeScore, Meta(description="Changes, judged by the classifier's labels for the clean images.")
    ] = ChangeScore()
    by_label: Annotated[ChangeScore, Meta(description="Changes, judged by the images' labels.")] = ChangeScore()
    changed_events: Count = 0

    def __add__(self, other: Score) -> Score:
        return Score(
            self.cpu_s + other.cpu_s,
            self.faces + other.faces,
            self.shared + other.shared,
            self.sight_s + other.sight_s,
            self.id_switches + other.id_switches,
            self.visits + other.visits,
            self.acquired_s + other.acquired_s,
            self.by_answer + other.by_answer,
            self.by_label + other.by_label,
            self.changed_events + other.changed_events,
        )

    @property
    def cpu_ms(self) -> float:
        """Processor time per frame."""
        return 1e3 * self.cpu_s / self.faces.frames


class KindResult(Section, frozen=True):
    """One system on one kind of sequence."""

    kind: Text
    system: Text
    score: Score


class StageShare(Section, frozen=True):
    """Mean processor time of a stage per frame of the ``easy`` sequences."""

    system: Text
    stage: Text
    ms_per_frame: Amount


class CostCell(Section, frozen=True):
    """Mean processor time of a system per frame, for one frame size and number of faces."""

    system: Text
    width: CountFrom1
    height: CountFrom1
    faces: Count
    followed: Annotated[Amount, Meta(description="Mean number of reported faces.")]
    cpu_ms: Amount


class SequenceSection(Section, frozen=True):
    """One run over all sequences."""

    settings: SequenceSettings
    cast: CastInfo
    results: Annotated[tuple[KindResult, ...], Meta(min_length=1)]
    stages: tuple[StageShare, ...]
    costs: Annotated[tuple[CostCell, ...], Meta(description="Empty if they were not measured.")]
    code_sha256: Annotated[
        str | None, Meta(description="Of the code that decides what is detected; null in older reports.")
    ] = None


def total(results: Iterable[KindResult], system: str) -> Score:
    """Return the sum over all kinds for ``system``."""
    return sum((result.score for result in results if result.system == system), Score())
