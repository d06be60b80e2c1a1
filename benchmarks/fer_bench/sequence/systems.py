"""The systems that are measured: FER-Edge, and a full search of every frame with an argmax on each face."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from fer_bench.results.sequence import FER_EDGE
from fer_edge.model.bundle import ModelBundle
from fer_edge.pipeline import Pipeline
from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.crop import crop_face
from fer_edge.stages.detection.haar import load_cascade
from fer_edge.stages.detection.yunet import MAX_FACE_PX, YuNetFaceDetector
from fer_edge.telemetry import StageTimer, Telemetry
from fer_edge.types import UNCERTAIN, Box, EventKind, Face, Frame, Search, UInt8Array


@dataclass(frozen=True, slots=True)
class ReportedFace:
    """A face that a system reports; ``track_id`` is None if it does not track faces."""

    box: Box
    label: str
    track_id: int | None = None


class System(Protocol):
    """A system. ``stages`` has the sum of each stage's time; ``changed_events`` counts events of changes."""

    name: str
    every_frame: bool
    """Whether it must be shown every frame, because it tracks faces; others see some seconds of a sequence."""
    stages: StageSums
    changed_events: int

    def begin(self) -> None:
        """Start another sequence."""
        ...

    def process(self, frame: Frame) -> tuple[ReportedFace, ...]:
        """Process one frame and return the reported faces."""
        ...


class StageSums(Telemetry):
    """Telemetry with the sum of each stage's processor time in seconds; the daemon's has only percentiles."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: defaultdict[str, float] = defaultdict(float)

    def stage(self, name: str) -> StageTimer:
        """See ``Telemetry.stage``."""
        return StageTimer(self, name, with_cpu=True)

    def record(self, name: str, seconds: float, thread_cpu_s: float = 0.0) -> None:
        """See ``Telemetry.record``."""
        super().record(name, seconds, thread_cpu_s)
        self.seconds[name] += thread_cpu_s


class FerEdge:
    """The pipeline of ``fer-edge run`` for a file, with ``settings``."""

    every_frame = True

    def __init__(self, bundle: ModelBundle, variant: str, settings: RuntimeSettings, name: str = FER_EDGE) -> None:
        self.name = name
        self._pipeline = Pipeline.from_bundle(bundle, settings, variant)
        self.stages = StageSums()
        self.changed_events = 0
        self.begin()

    def begin(self) -> None:
        """Start a new run, without the tracks of the last sequence."""
        self._run = self._pipeline.open(telemetry=self.stages)

    def process(self, frame: Frame) -> tuple[ReportedFace, ...]:
        """Return the visible tracks."""
        result = self._run.process(frame)
        self.changed_events += sum(event.kind is EventKind.CHANGED for event in result.events)
        return tuple(ReportedFace(track.box, track.emotion or UNCERTAIN, track.track_id) for track in result.tracks)


class FullSearch:
    """Search every whole frame at full resolution, and take the most probable label of each detected face."""

    every_frame = False

    def __init__(self, name: str, find: Callable[[UInt8Array], list[Box]], bundle: ModelBundle, variant: str) -> None:
        """``find`` returns the Haar boxes of the faces in a frame, uint8 [H, W]."""
        self.name = name
        self.stages = StageSums()
        self.changed_events = 0  # it has no events
        self._find = find
        self._classifier = EmotionClassifier(bundle, variant)

    def begin(self) -> None:
        """Start another sequence; nothing is kept from frame to frame."""

    def process(self, frame: Frame) -> tuple[ReportedFace, ...]:
        """Return a box and a label for each detected face."""
        reported = []
        with self.stages.stage("frame"):
            with self.stages.stage("detect_full"):
                boxes = self._find(frame.gray)
            for box in boxes:
                with self.stages.stage("crop"):
                    crop = crop_face(frame.gray, Face(box, 0.0), self._classifier.crop_spec)
                with self.stages.stage("classify"):
                    top = self._classifier.classify(crop).top
                reported.append(ReportedFace(box, self._classifier.labels[top]))
        return tuple(reported)


def haar_search(scale_factor: float) -> Callable[[UInt8Array], list[Box]]:
    """Return ``detectMultiScale`` with 5 neighbors, for ``FullSearch``."""
    cascade = load_cascade()

    def find(gray: UInt8Array) -> list[Box]:
        return [Box(*map(int, values)) for values in cascade.detectMultiScale(gray, scale_factor, 5)]

    return find


def yunet_search(model: Path) -> Callable[[UInt8Array], list[Box]]:
    """Return one run of YuNet on a whole frame, for ``FullSearch``. Raises ModelError if ``model`` is refused."""
    detector = YuNetFaceDetector(DetectorSettings(kind="yunet", model=str(model), min_face_px=24))

    def find(gray: UInt8Array) -> list[Box]:
        return [face.box for face in detector.detect(gray, replace(Search.whole(gray), max_face=MAX_FACE_PX))]

    return find
