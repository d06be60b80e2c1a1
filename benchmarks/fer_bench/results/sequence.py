"""What ``fer-edge bench sequence`` measures, as frozen values: counts, so that others can add them up."""

from __future__ import annotations

from collections.abc import Iterable

from fer_bench.results.section import Section

FER_EDGE = "fer-edge"
FULL_SEARCHES = {"full (1.1, 5)": 1.1, "full (1.3, 5)": 1.3}
"""Name and scale factor of detectMultiScale on the whole frame at full resolution, with 5 neighbours."""
FER_EDGE_YUNET, FULL_YUNET = "fer-edge, yunet", "full yunet"
"""FER-Edge with the other detector, and that one on the whole frame at full resolution, where its file is given."""


class SequenceSettings(Section, frozen=True):
    """Which sequences were shown: their kinds, ``frames`` of each at ``fps`` a second of their own time, ``rounds`` of
    them with other faces. Full searches were shown one second in ``baseline_every`` (0: none)."""

    kinds: tuple[str, ...]
    width: int
    height: int
    frames: int
    fps: float
    rounds: int
    baseline_every: int
    config: str | None = None
    """SHA-256 of the settings of FER-Edge as TOML; None: its defaults."""
    yunet: str | None = None
    """SHA-256 of the YuNet model that was shown too."""


class CastInfo(Section, frozen=True):
    """Whose faces were shown: ``candidates`` images of ``split`` may play, ``shown`` did, of which Haar finds
    ``findable`` when they are upright, clean and alone. ``by_votes``: FER+'s raters agree on them."""

    name: str
    split: str
    rows_sha256: str
    by_votes: bool
    left_out: tuple[str, ...]
    candidates: int
    shown: int
    findable: int


class FaceFrames(Section, frozen=True):
    """Faces in ``frames`` frames: ``shown``, ``matched`` by a box, and the same of images that Haar finds at all.

    ``false_frames`` have a box on no face, or a second one on a face; ``ghost_frames`` have one on the background.
    """

    frames: int = 0
    false_frames: int = 0
    ghost_frames: int = 0
    shown: int = 0
    matched: int = 0
    findable_shown: int = 0
    findable_matched: int = 0

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
    """True changes of a face's label: ``shown`` and, with their ``delays_s``, reported; and the ``false`` ones told in
    ``judged_s`` seconds of faces in sight."""

    shown: int = 0
    delays_s: tuple[float, ...] = ()
    false: int = 0
    judged_s: float = 0.0

    def __add__(self, other: ChangeScore) -> ChangeScore:
        return ChangeScore(
            self.shown + other.shown,
            self.delays_s + other.delays_s,
            self.false + other.false,
            self.judged_s + other.judged_s,
        )


class Score(Section, frozen=True):
    """One system on the sequences of one kind.

    ``cpu_s`` is processor time of the process for the ``faces.frames`` frames it was shown; ``shared`` are those that
    every system was shown. ``sight_s`` are the seconds for which faces could be seen, summed over the faces.
    ``visits`` faces came into the picture, and those that were found took ``acquired_s``. ``by_answer`` and
    ``by_label`` judge changes by what the classifier says of the clean images, and by their label.
    """

    cpu_s: float = 0.0
    faces: FaceFrames = FaceFrames()
    shared: FaceFrames = FaceFrames()
    sight_s: float = 0.0
    id_switches: int = 0
    visits: int = 0
    acquired_s: tuple[float, ...] = ()
    by_answer: ChangeScore = ChangeScore()
    by_label: ChangeScore = ChangeScore()
    changed_events: int = 0

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
        """Processor time for a frame."""
        return 1e3 * self.cpu_s / self.faces.frames


class KindResult(Section, frozen=True):
    """One system on one kind of sequence."""

    kind: str
    system: str
    score: Score


class StageShare(Section, frozen=True):
    """What one stage takes of a frame of the ``easy`` sequences, processor milliseconds on average."""

    system: str
    stage: str
    ms_per_frame: float


class CostCell(Section, frozen=True):
    """What a frame of ``width`` x ``height`` with ``faces`` faces costs a system, processor milliseconds."""

    system: str
    width: int
    height: int
    faces: int
    followed: float
    """Mean number of faces that were told of."""
    cpu_ms: float


class SequenceSection(Section, frozen=True):
    """One run over all sequences; ``code_sha256`` is of the code that decides what is found."""

    settings: SequenceSettings
    cast: CastInfo
    results: tuple[KindResult, ...]
    stages: tuple[StageShare, ...]
    costs: tuple[CostCell, ...]
    code_sha256: str | None = None


def total(results: Iterable[KindResult], system: str) -> Score:
    """The sum over all kinds for ``system``."""
    return sum((result.score for result in results if result.system == system), Score())
