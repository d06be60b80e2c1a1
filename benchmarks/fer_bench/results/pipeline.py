"""Whole frames, as a part of a report: what ``fer-edge bench pipeline`` measures."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta

from fer_bench.results.section import Amount, Count, CountFrom1, Positive, Section, Sha256, Text

CandidateName = Annotated[
    str,
    Meta(
        pattern="^(fer-edge|tutorial|tutorial-tflite|fer)$",
        extra={"allowed": "fer-edge, tutorial, tutorial-tflite or fer"},
    ),
]


class SceneSettings(Section, frozen=True):
    """Which scenes were shown: every size with every number of faces, with other faces in each round."""

    sizes: Annotated[
        tuple[tuple[CountFrom1, CountFrom1], ...], Meta(min_length=1, description="Width and height in pixels.")
    ]
    faces: Annotated[tuple[Count, ...], Meta(min_length=1)]
    frames: Annotated[CountFrom1, Meta(description="Frames of a scene.")]
    rounds: CountFrom1
    fps: Annotated[Positive, Meta(description="Frames per second of the scene's own time.")]


class FaceSource(Section, frozen=True):
    """Where the faces are from: a split of a data set, or the portrait, which has no hash."""

    name: Text
    images: Annotated[CountFrom1, Meta(description="Faces to draw from.")]
    rows_sha256: Sha256 | None


class CandidateInfo(Section, frozen=True):
    """One candidate."""

    name: CandidateName
    how: Annotated[Text, Meta(description="How it works.")]
    versions: Annotated[dict[str, Text], Meta(description="Version of each package.")]
    start_s: Annotated[Positive, Meta(description="From starting its process to ready, in seconds.")]


class Durations(Section, frozen=True):
    """Percentiles over ``count`` frames, or calls of a stage."""

    p50_ms: Amount
    p95_ms: Amount
    p99_ms: Amount
    count: CountFrom1


class Answers(Section, frozen=True):
    """Counts over all frames of a cell. Frames of one face are not independent samples.

    Recall is matched / shown, label accuracy right / matched, end to end right / shown.
    """

    shown: Annotated[Count, Meta(description="Faces in the frames.")]
    distinct: Annotated[Count, Meta(description="Different people among them.")]
    matched: Annotated[Count, Meta(description="Faces that were found.")]
    false_boxes: Annotated[Count, Meta(description="Boxes that are not on a face, and second boxes on a face.")]
    right: Annotated[
        Count | None, Meta(description="Found, and reported with the right label; null if labels are unknown.")
    ]
    uncertain: Annotated[Count | None, Meta(description="Found, and reported as uncertain; null without labels.")]


class CellResult(Section, frozen=True):
    """One candidate on the scenes of one size and number of faces."""

    candidate: CandidateName
    width: CountFrom1
    height: CountFrom1
    faces: Count
    frame: Durations
    fps: Annotated[Positive, Meta(description="Frames per second, one after the other.")]
    cpu_ms: Annotated[Amount, Meta(description="Mean processor time of the whole process per frame.")]
    cpu_over_ours: Annotated[
        Amount, Meta(description="That relative to FER-Edge in the same round; median of the rounds.")
    ]
    rss_steady_mib: Annotated[
        Positive | None, Meta(description="Resident memory at the end of the scene, first round; null if unknown.")
    ]
    rss_peak_mib: Annotated[
        Positive | None, Meta(description="Maximum since the process started, first round; null if unknown.")
    ]
    stages: dict[str, Durations]
    answers: Answers


class PipelineSection(Section, frozen=True):
    """One run over all candidates."""

    settings: SceneSettings
    face_source: FaceSource
    candidates: Annotated[tuple[CandidateInfo, ...], Meta(min_length=2)]
    results: Annotated[tuple[CellResult, ...], Meta(min_length=2)]
    left_out: Annotated[tuple[Text, ...], Meta(description="What was not measured, and why, one line each.")]
