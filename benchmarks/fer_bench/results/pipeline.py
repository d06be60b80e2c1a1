"""What ``fer-edge bench pipeline`` measures, as frozen values."""

from __future__ import annotations

from fer_bench.results.section import Section


class SceneSettings(Section, frozen=True):
    """Which scenes were shown: every size (width, height) with every number of faces, anew in each round."""

    sizes: tuple[tuple[int, int], ...]
    faces: tuple[int, ...]
    frames: int
    rounds: int
    fps: float


class FaceSource(Section, frozen=True):
    """Where the faces came from: a data set's split with its number of images, or the portrait (no hash)."""

    name: str
    images: int
    rows_sha256: str | None


class CandidateInfo(Section, frozen=True):
    """What was measured: how it works, and the versions it ran on; ``start_s`` is from nothing to ready, seconds."""

    name: str
    how: str
    versions: dict[str, str]
    start_s: float


class Durations(Section, frozen=True):
    """Percentiles in milliseconds over ``count`` frames, or calls of a stage."""

    p50_ms: float
    p95_ms: float
    p99_ms: float
    count: int


class Answers(Section, frozen=True):
    """What a candidate told of the faces: counts over all frames of a cell.

    ``shown`` faces were there, ``matched`` of them found; ``right`` of these bore the label told, ``uncertain`` were
    told without a label. The last two are None where the faces' labels are not known. ``false_boxes`` lay on no face,
    or were the second on one. ``distinct`` people were shown: frames of one face are no independent samples.
    """

    shown: int
    distinct: int
    matched: int
    false_boxes: int
    right: int | None
    uncertain: int | None


class CellResult(Section, frozen=True):
    """One candidate on the scenes of one size and number of faces.

    ``cpu_ms`` is processor time of the whole process for a frame, the mean; ``cpu_over_ours`` that over FER-Edge's in
    the same round, the median of the rounds. Memory is resident, MiB, in the first round: ``steady`` at the scene's
    end, ``peak`` since the process began (None where the system does not tell).
    """

    candidate: str
    width: int
    height: int
    faces: int
    frame: Durations
    fps: float
    cpu_ms: float
    cpu_over_ours: float
    rss_steady_mib: float | None
    rss_peak_mib: float | None
    stages: dict[str, Durations]
    answers: Answers


class PipelineSection(Section, frozen=True):
    """One run over all candidates; ``left_out`` says in a line each what was not measured, and why."""

    settings: SceneSettings
    face_source: FaceSource
    candidates: tuple[CandidateInfo, ...]
    results: tuple[CellResult, ...]
    left_out: tuple[str, ...]
