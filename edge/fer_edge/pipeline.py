"""The flow from a frame to its events, on one screen: the stages know values, only this module knows the stages."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from fer_edge.bundle import ModelBundle
from fer_edge.classification import EmotionClassifier
from fer_edge.config import RuntimeSettings
from fer_edge.crop import CropSpec, crop_face
from fer_edge.detection import HaarFaceDetector, suppress_overlaps
from fer_edge.events import EventTeller
from fer_edge.schedule import Search, nominal_full_search_cost, plan_searches
from fer_edge.telemetry import StageTimer, Telemetry
from fer_edge.tracking import Tracker
from fer_edge.types import (
    Box,
    EmotionEvent,
    EmotionProbabilities,
    Face,
    FaceCrop,
    Frame,
    Track,
    TrackedEmotion,
    UInt8Array,
)


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """What came out of one frame: the confirmed tracks in sight, and the events it made."""

    frame: Frame
    tracks: tuple[TrackedEmotion, ...]
    events: tuple[EmotionEvent, ...]


class Pipeline:
    """Frames of one source in, tracks and events out. ``process`` belongs to one thread."""

    def __init__(
        self,
        detector: FaceDetector,
        classifier: Classifier,
        settings: RuntimeSettings,
        telemetry: Telemetry,
        *,
        adapt_to_cost: bool = False,
    ) -> None:
        """With ``adapt_to_cost`` (live sources) the schedule follows the measured cost; without, a file always
        gives the same tracks.
        """
        self._detector = detector
        self._classifier = classifier
        self._settings = settings
        self._telemetry = telemetry
        self._adapt_to_cost = adapt_to_cost
        self._tracker = Tracker(settings.tracking)
        self._teller = EventTeller(classifier.labels, settings.emotion)
        self._clock = _SteadyClock()
        self._last_full_search: float | None = None
        self._measured_cost_s: float | None = None
        self._source = ""

    def process(self, frame: Frame) -> FrameResult:
        """One frame through all stages."""
        with StageTimer(self._telemetry, "frame", with_cpu=True):
            now = self._clock.advance(frame.captured_at)
            searches = self._plan(frame, now)
            faces = self._find_faces(frame, searches, now)
            with self._telemetry.stage("crop"):
                crops = [crop_face(frame.gray, face, self._classifier.crop_spec) for face in faces]
            probabilities = [self._classify(crop) for crop in crops]
            with self._telemetry.stage("track"):
                tracks = self._tracker.update(now, faces, probabilities)
            with self._telemetry.stage("events"):
                emotions, events = self._teller.update(frame.source, tracks, now)
        self._source = frame.source
        self._telemetry.count(frames=1, faces=len(faces), events=len(events))
        return FrameResult(frame, self._shown(emotions, tracks, now), events)

    def finish(self, at: float) -> tuple[EmotionEvent, ...]:
        """The source ended or was lost at ``at``: ``left`` for those still there. Frames may follow; ids go on."""
        events = self._teller.finish(self._source, self._clock.advance(at))
        self._tracker.clear()
        self._telemetry.count(events=len(events))
        return events

    def _shown(
        self, emotions: Sequence[TrackedEmotion], tracks: Sequence[Track], now: float
    ) -> tuple[TrackedEmotion, ...]:
        """Those seen a moment ago: a face that left is waited for longer than a box around nothing should be shown."""
        oldest = now - self._settings.tracking.coast_s
        recent = {track.track_id for track in tracks if track.last_seen >= oldest}
        return tuple(emotion for emotion in emotions if emotion.track_id in recent)

    def _plan(self, frame: Frame, now: float) -> tuple[Search, ...]:
        size = frame.width, frame.height
        cost_s = self._measured_cost_s or nominal_full_search_cost(size, self._settings.schedule)
        with self._telemetry.stage("plan"):
            tracks = self._tracker.predicted(now)
            return plan_searches(size, tracks, now, self._last_full_search, cost_s, self._settings.schedule)

    def _find_faces(self, frame: Frame, searches: Sequence[Search], now: float) -> list[Face]:
        found: list[Face] = []
        for search in searches:
            whole = search.region is None
            with self._telemetry.stage("detect_full" if whole else "detect_region") as timer:
                found += self._detector.detect(
                    frame.gray,
                    search.region,
                    scale=search.scale,
                    min_face=search.min_face,
                    max_face=search.max_face,
                )
            if whole:
                self._last_full_search = now
                if self._adapt_to_cost:
                    self._measured_cost_s = _mean_cost(self._measured_cost_s, timer.elapsed_s)
        return suppress_overlaps(found)

    def _classify(self, crop: FaceCrop) -> EmotionProbabilities:
        with self._telemetry.stage("classify"):
            return self._classifier.classify(crop)


def build_pipeline(
    bundle: ModelBundle,
    settings: RuntimeSettings,
    variant: str = "int8",
    telemetry: Telemetry | None = None,
    adapt_to_cost: bool = False,
) -> Pipeline:
    """The pipeline with the Haar detector and a bundle's ``variant``. Raises ModelError when either is refused."""
    detector = HaarFaceDetector(settings.detector)
    classifier = EmotionClassifier(bundle, variant)
    return Pipeline(detector, classifier, settings, telemetry or Telemetry(), adapt_to_cost=adapt_to_cost)


class FaceDetector(Protocol):
    """Finds faces in a region of a frame; see ``HaarFaceDetector.detect``."""

    def detect(
        self,
        gray: UInt8Array,
        region: Box | None = None,
        *,
        scale: float = 1.0,
        min_face: float | None = None,
        max_face: float | None = None,
    ) -> list[Face]:
        """Faces in frame pixels, surest first."""
        ...


class Classifier(Protocol):
    """Tells emotions from a crop; see ``EmotionClassifier``."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Label of each probability."""
        ...

    @property
    def crop_spec(self) -> CropSpec:
        """The crop it takes."""
        ...

    def classify(self, crop: FaceCrop) -> EmotionProbabilities:
        """Probabilities of each label."""
        ...


class _SteadyClock:
    """The source's clock, made never to go back: after a jump back it goes on from where it was."""

    def __init__(self) -> None:
        self._raw: float | None = None
        self._now = 0.0

    def advance(self, raw: float) -> float:
        """The steady time of the source's time ``raw``; a time that is no finite number stands still."""
        if not math.isfinite(raw):
            return self._now
        self._now = raw if self._raw is None else self._now + max(0.0, raw - self._raw)
        self._raw = raw
        return self._now


def _mean_cost(mean_s: float | None, measured_s: float) -> float:
    return measured_s if mean_s is None else mean_s + 0.2 * (measured_s - mean_s)
