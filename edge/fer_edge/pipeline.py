"""The flow from a frame to its events. Stages exchange values; only this module knows the stages."""

from __future__ import annotations

import functools
import os
import threading
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Self

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError, SourceLostError
from fer_edge.face_finder import FaceFinder
from fer_edge.frames import Limits, frames_within
from fer_edge.images.colour import kept_colour, to_gray
from fer_edge.model.bundle import ModelBundle, load_bundle
from fer_edge.protocols import Classifier, FaceDetector, FaceLikelihood, FrameSource
from fer_edge.settings.pipeline import DetectorSettings, EmotionSettings
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.affect import AffectReader
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.crop import crop_face
from fer_edge.stages.crop_quality import find_fault, measure
from fer_edge.stages.detection.choice import make_detector
from fer_edge.stages.emotion_groups import GroupedClassifier, grouped_labels
from fer_edge.stages.events import EventBuilder
from fer_edge.stages.presence import PresenceCounter
from fer_edge.stages.smoothing import EmotionSmoother
from fer_edge.stages.verification import FaceCheck, TrackVerifier
from fer_edge.stages.zones import ZoneFinder
from fer_edge.system.closing import Closing
from fer_edge.system.timing import SteadyClock
from fer_edge.telemetry import StageTimer, Telemetry
from fer_edge.types import (
    CropFault,
    EmotionEvent,
    EmotionProbabilities,
    EventKind,
    Face,
    Frame,
    FrameResult,
)


class Pipeline(Closing):
    """Detector, classifier and settings; ``open`` starts the processing of one source.

    It has no state of a source, so the runs of a pipeline do not affect each other. Use a pipeline and its runs in one
    thread only.

    >>> import itertools
    >>> from fer_edge import load_bundle, open_source
    >>> with Pipeline.from_bundle(load_bundle()) as pipeline:
    ...     with pipeline.open(open_source("demo")) as run:
    ...         for result in itertools.islice(run, 3):
    ...             print(result.frame.index, len(result.tracks))
    0 0
    1 0
    2 0
    """

    def __init__(
        self,
        detector: FaceDetector | None,
        classifier: Classifier | None,
        settings: RuntimeSettings | None = None,
        *,
        check: FaceLikelihood | None = None,
    ) -> None:
        """Create a pipeline.

        Args:
            detector: Detects faces; None for the detector that ``settings.detector`` names.
            classifier: Classifies crops; None to report faces without an emotion.
            settings: None for the defaults.
            check: Verifies that tracks are faces, unless ``settings.detector.verify`` is off; None for the network in
                the package.

        Raises:
            ConfigError: If the classifier lacks an emotion that the settings name.
            ModelError: If the detector's file is missing or refused.
        """
        self.settings = settings or RuntimeSettings()
        emotion = self.settings.emotion
        if classifier is not None and emotion.groups:
            classifier = GroupedClassifier(classifier, emotion.groups)
        self.classifier = classifier if emotion.enabled else None
        self._affect = AffectReader(classifier.labels).read if classifier and emotion.valence_arousal else None
        self.budget_share = 1.0
        """Share of the search budget that live sources use, 0..1; reduced while the processor is hot."""
        # Still images need a detector with other settings than streams. Each is loaded once, when it is first used.
        self._detector_for: Callable[[DetectorSettings], FaceDetector] = (
            functools.cache(make_detector) if detector is None else lambda _: detector
        )
        self._load_check = functools.cache(
            lambda: FaceCheck(self.settings.model.interpreter) if check is None else check
        )
        # Refused now rather than with the first frame.
        self._detector_for(self.settings.detector)
        self._verifier_for(self.settings)

    @classmethod
    def from_bundle(
        cls,
        bundle: ModelBundle | str | os.PathLike[str] | None = None,
        settings: RuntimeSettings | None = None,
        variant: str | None = None,
    ) -> Self:
        """Create a pipeline with the detector of the settings and a variant of a bundle.

        With ``emotion.enabled`` off, no bundle is read.

        Args:
            bundle: The path of a bundle (None: the one in the package), or an open bundle, which may be closed
                afterwards.
            settings: None for the defaults.
            variant: Name of the variant; None for the one in the settings.

        Raises:
            InputError: If that path does not exist.
            ModelError: If the bundle, the detector or the variant is refused.
            TypeError: If ``bundle`` is none of these.
        """
        settings = settings or RuntimeSettings()
        if not settings.emotion.enabled:
            return cls(None, None, settings)
        if not isinstance(bundle, ModelBundle):
            if not isinstance(bundle, str | os.PathLike | None):
                found = type(bundle).__name__
                raise TypeError(f"Pipeline.from_bundle takes the path of a bundle or a ModelBundle, not {found}")
            with load_bundle(bundle) as loaded:
                return cls.from_bundle(loaded, settings, variant)
        return cls(None, EmotionClassifier.from_settings(bundle, settings.model, variant), settings)

    def open(
        self, source: FrameSource | str | None = None, *, live: bool | None = None, telemetry: Telemetry | None = None
    ) -> SourceRun:
        """Start a run over ``source``, without tracks; their ids start at 1.

        Args:
            source: What ``open_source`` returned, or a source of your own. The name of a source, or None, if the caller
                passes its frames to ``SourceRun.process``.
            live: Adapt the schedule to the measured cost of searches, as a camera requires. Otherwise nominal costs
                are used, and the same frames give the same tracks on any machine. None: as for the source.
            telemetry: Receives counters and latencies; None for a new one.
        """
        name = source if isinstance(source, str) else ""
        source = None if isinstance(source, str) else source
        if source is not None and not callable(getattr(source, "read", None)):
            raise TypeError(f"open takes a source, as open_source returns it, or a name, not {type(source).__name__}")
        still = source is not None and source.still
        settings = self.settings.for_still() if still else self.settings
        if live is None:
            live = self.settings.source.realtime or (source is not None and source.live)
        return SourceRun(self, source, settings, telemetry or Telemetry(), live=live, name=name)

    def close(self) -> None:
        """Release the models. Idempotent."""
        if self.classifier is not None:
            self.classifier.close()
        if self._load_check.cache_info().currsize:  # the default is not loaded if all sources were still images
            self._load_check().close()

    def _verifier_for(self, settings: RuntimeSettings) -> TrackVerifier | None:
        # If a single detection confirms a track, as in a still image, no later reading could correct a wrong one.
        verify = settings.detector.verify and settings.tracking.min_hits > 1
        return TrackVerifier(self._load_check()) if verify else None


def reported_labels(labels: Sequence[str], settings: EmotionSettings) -> tuple[str, ...]:
    """Return the names under which the emotions of a model with ``labels`` are reported: groups, and single emotions.

    Raises:
        ConfigError: If the settings name an emotion that the model does not have, or need one that it lacks.
    """
    if settings.valence_arousal:
        AffectReader(labels)
    return grouped_labels(labels, settings.groups)


class SourceRun(Closing):
    """The processing of one source: its clock, motion, tracks, smoothing and schedule. See ``Pipeline.open``.

    Iterate over it for the result of each frame, or over ``events()``. Without a source, call ``process`` with images
    from elsewhere, here one in BGR:

    >>> import numpy as np
    >>> run = Pipeline.from_bundle().open("door")
    >>> result = run.process(np.zeros((480, 640, 3), np.uint8), at=0.0)
    >>> result.frame.source, result.tracks, result.events
    ('door', (), ())
    """

    def __init__(
        self,
        pipeline: Pipeline,
        source: FrameSource | None,
        settings: RuntimeSettings,
        telemetry: Telemetry,
        *,
        live: bool,
        name: str = "",
    ) -> None:
        self.telemetry = telemetry
        telemetry.interpreter = getattr(pipeline.classifier, "interpreter", None)
        self._pipeline, self._source, self._settings, self._live = pipeline, source, settings, live
        self._classifier = pipeline.classifier
        self._finder = FaceFinder(
            pipeline._detector_for(settings.detector), lambda: pipeline._verifier_for(settings), settings, telemetry
        )
        self._clock, self._last_at, self._name = SteadyClock(), 0.0, name
        self._index = -1
        self._smoother = EmotionSmoother(settings.emotion)
        labels = () if self._classifier is None else self._classifier.labels
        self._event_builder = EventBuilder(labels, settings.emotion, affect=pipeline._affect)
        self._presence = PresenceCounter(tuple(settings.source.zones), settings.presence)
        self._zones = ZoneFinder(settings.source.zones)
        telemetry.zones = tuple(settings.source.zones)

    def process(self, frame: Frame | npt.NDArray[np.uint8], at: float | None = None) -> FrameResult:
        """Process one frame in all stages.

        Args:
            frame: A frame, or an image: uint8, grey [H, W] or BGR [H, W, 3] (OpenCV's order).
            at: When the image was taken, seconds of a clock of the caller; None for now, by the monotonic clock.

        Raises:
            InputError: If the image is not uint8, grey or BGR.
            TypeError: If ``frame`` is neither a frame nor an image.
        """
        if not isinstance(frame, Frame):
            if not isinstance(frame, np.ndarray):
                raise TypeError(f"process takes a Frame or a NumPy image, not {type(frame).__name__}")
            self._index += 1
            at = time.monotonic() if at is None else at
            frame = Frame(self._name or "frames", self._index, at, to_gray(frame), bgr=kept_colour(frame))
        with StageTimer(self.telemetry, "frame", with_cpu=True):
            now = self._clock.advance(frame.captured_at)
            tracks = self._finder.find(frame, now, self._pipeline.budget_share if self._live else None)
            if self._classifier is not None:
                for track_id, face in self._smoother.due(tracks, now):
                    self._smoother.add(track_id, self._read(frame, face, self._classifier), now)
            with self.telemetry.stage("events"):
                readings = self._smoother.readings(tracks)
                zones = self._zones.update(tracks, frame.width, frame.height)
                emotions, events = self._event_builder.update(frame.source, readings, now, zones)
                in_sight = self._finder.in_sight(tracks, now)
                emotions = tuple(emotion for emotion in emotions if emotion.track_id in in_sight)
                presence, changed = self._presence.update([emotion.zone for emotion in emotions], now)
                events += self._event_builder.presence(frame.source, changed, now)
        if zones:
            self.telemetry.count_zones(self._zones.entered, emotions, self._clock.step_s)
        self._name, self._last_at = frame.source, frame.captured_at
        appeared = sum(event.kind is EventKind.APPEARED for event in events)
        self.telemetry.count(frames=1, faces=self._finder.detected, appeared=appeared, events=len(events))
        return FrameResult(frame, emotions, events, presence)

    def __iter__(self) -> Iterator[FrameResult]:
        """Iterate as ``results()`` does."""
        return self.results()

    def results(
        self, stop: threading.Event | None = None, limits: Limits | None = None
    ) -> Generator[FrameResult, None, None]:
        """Yield the result of each frame until the source ends, a limit is reached or ``stop`` is set; then close it.

        A live source provides its newest frame each time a result is requested, a file provides every frame. Closing
        the generator early also closes the source.

        Args:
            stop: Ends the iteration when it is set, from any thread.
            limits: None for those of the settings.

        Raises:
            InputError: If a file is damaged.
            SourceLostError: If a camera or stream was lost.
        """
        with self:
            for result in self.watch(stop, limits):
                yield result
                self.telemetry.record_age(result)

    def events(self, stop: threading.Event | None = None) -> Generator[EmotionEvent, None, None]:
        """Yield every event of the source, then ``left`` for the faces in view at its end; otherwise as ``results``."""
        lost = None
        with self:
            try:
                for result in self.watch(stop):
                    yield from result.events
                    self.telemetry.record_age(result)
            except (InputError, SourceLostError) as error:
                lost = error
            yield from self.finish()
        if lost is not None:
            raise lost

    def watch(
        self, stop: threading.Event | None = None, limits: Limits | None = None
    ) -> Generator[FrameResult, None, None]:
        """Yield as ``results`` does, but leave the source open, and the age of the results unrecorded."""
        if self._source is None:
            raise ValueError("this run has no source: pass one to Pipeline.open, or call process with each frame")
        source, dropped = self._source, 0
        limits = limits or Limits(max_fps=self._settings.source.max_fps)
        try:
            for frame in frames_within(limits, source, stop or threading.Event()):
                result = self.process(frame)
                yield result
                self.telemetry.count(dropped=source.dropped - dropped)
                dropped = source.dropped
        finally:
            self.telemetry.count(dropped=source.dropped - dropped)

    def finish(self, at: float | None = None) -> tuple[EmotionEvent, ...]:
        """Return ``left`` for every face in view, because the source ended or was lost.

        Frames may be processed afterwards; track ids continue to count up.

        Args:
            at: When it ended, seconds of the source's clock; None for the time of its last frame.
        """
        now = self._clock.advance(self._last_at if at is None else at)
        left = self._event_builder.finish(self._name, now)
        events = (*left, *self._event_builder.presence(self._name, self._presence.finish(), now))
        self._finder.restart()
        self.telemetry.count(events=len(events))
        return events

    def resume(self, source: FrameSource) -> None:
        """Continue with ``source``, the same camera reopened after it was lost. Track ids continue to count up."""
        self._source = source

    def close(self) -> None:
        """Close the source. Idempotent."""
        if self._source is not None:
            self._source.close()

    def _read(self, frame: Frame, face: Face, classifier: Classifier) -> EmotionProbabilities | None:
        """Return the probabilities for ``face``; None if its crop is refused."""
        fault: CropFault | None = CropFault.CUT
        with self.telemetry.stage("crop"):
            if face.box.clipped(frame.width, frame.height).area > 0:  # a predicted box may be outside the frame
                crop = crop_face(frame.gray, face, classifier.crop_spec)
                fault = find_fault(measure(crop), self._settings.quality)
        if fault is not None:
            self.telemetry.refuse(fault)
            return None
        with self.telemetry.stage("classify"):
            return classifier.classify(crop)
