"""The flow from a frame to its events, on one screen: the stages know values, only this module knows the stages."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from fer_edge.bundle import ModelBundle
from fer_edge.classification import EmotionClassifier
from fer_edge.clock import SteadyClock
from fer_edge.config import RuntimeSettings
from fer_edge.crop import CropSpec, crop_face
from fer_edge.crop_quality import find_fault, measure
from fer_edge.detection import HaarFaceDetector, suppress_overlaps
from fer_edge.emotion import EmotionSmoother
from fer_edge.events import EventTeller
from fer_edge.interpreter import LiteRtModel
from fer_edge.motion import MotionGate
from fer_edge.schedule import ScheduleState, Search, SearchCost, plan_searches
from fer_edge.telemetry import StageTimer, Telemetry
from fer_edge.tracking import Tracker
from fer_edge.types import (
    Box,
    CropFault,
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
        self._smoother = EmotionSmoother(settings.emotion)
        self._teller = EventTeller(classifier.labels, settings.emotion)
        self._clock = SteadyClock()
        self._motion = MotionGate(settings.schedule)
        self._schedule = ScheduleState()
        self._cost = SearchCost()
        self._source = ""

    def process(self, frame: Frame) -> FrameResult:
        """One frame through all stages."""
        with StageTimer(self._telemetry, "frame", with_cpu=True):
            now = self._clock.advance(frame.captured_at)
            if (frame.width, frame.height) != self._schedule.frame_size:  # nobody is where he was
                self._tracker.clear()
            searches = self._plan(frame, now)
            faces = self._find_faces(frame, searches)
            with self._telemetry.stage("track"):
                looked_for = {search.track_id for search in searches if search.track_id is not None}
                tracks = self._tracker.update(now, faces, looked_for)
            for track_id, face in self._smoother.due(tracks, now):
                self._smoother.add(track_id, self._read(frame, face), now)
            with self._telemetry.stage("events"):
                readings = self._smoother.readings(tracks)
                emotions, events = self._teller.update(frame.source, readings, now)
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
        """Those that were there when last looked for, or a moment ago.

        A face that left is waited for longer than a box around nothing should be shown.
        """
        oldest = now - self._settings.tracking.coast_s
        recent = {track.track_id for track in tracks if not track.lost or track.last_seen >= oldest}
        return tuple(emotion for emotion in emotions if emotion.track_id in recent)

    def _plan(self, frame: Frame, now: float) -> tuple[Search, ...]:
        settings = self._settings.schedule
        with self._telemetry.stage("plan"):
            tracks = self._tracker.predicted(now)
            watched = [track.box.grown(settings.region_margin) for track in tracks if track.confirmed]
            motion = self._motion.update(frame.gray, now, watched)
            searches, self._schedule = plan_searches(
                motion, tracks, now, self._cost, self._schedule, settings, self._settings.detector.min_face
            )
        return searches

    def _find_faces(self, frame: Frame, searches: Sequence[Search]) -> list[Face]:
        found: list[Face] = []
        for search in searches:
            began = time.thread_time()
            with self._telemetry.stage("detect_full" if search.track_id is None else "detect_region"):
                found += self._detector.detect(
                    frame.gray,
                    search.region,
                    scale=search.scale,
                    min_face=search.min_face,
                    max_face=search.max_face,
                    known=search.known,
                )
            if self._adapt_to_cost:
                self._cost = self._cost.measured(search, time.thread_time() - began)
        return suppress_overlaps(found)

    def _read(self, frame: Frame, face: Face) -> EmotionProbabilities | None:
        fault: CropFault | None = CropFault.CUT
        with self._telemetry.stage("crop"):
            if face.box.clipped(frame.width, frame.height).area > 0:  # else it should be out of the picture by now
                crop = crop_face(frame.gray, face, self._classifier.crop_spec)
                fault = find_fault(measure(crop), self._settings.quality)
        if fault is not None:
            self._telemetry.refuse(fault)
            return None
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
    model, telemetry = settings.model, telemetry or Telemetry()
    classifier = EmotionClassifier(bundle, variant, model.threads, partial(LiteRtModel, interpreter=model.interpreter))
    telemetry.interpreter = classifier.interpreter
    return Pipeline(detector, classifier, settings, telemetry, adapt_to_cost=adapt_to_cost)


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
        known: bool = False,
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
