"""The flow from a frame to its events, on one screen: the stages know values, only this module knows the stages."""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, Self

import cv2

from fer_edge.errors import InputError, SourceLostError
from fer_edge.frames import FrameSource, Limits, frames_within
from fer_edge.model.bundle import ModelBundle
from fer_edge.settings.runtime import LEAST_BUDGET, RuntimeSettings, ScheduleSettings
from fer_edge.stages.appearance import AppearanceFollower
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.crop import crop_face
from fer_edge.stages.crop_quality import find_fault, measure
from fer_edge.stages.detection.choice import make_detector
from fer_edge.stages.detection.haar import suppress_overlaps
from fer_edge.stages.events import EventTeller
from fer_edge.stages.motion import MotionGate
from fer_edge.stages.schedule import WATCHED, Reach, ScheduleState, Search, SearchCost, plan_searches
from fer_edge.stages.smoothing import EmotionSmoother
from fer_edge.stages.tracking import Tracker
from fer_edge.stages.verification import FaceCheck, FaceReading, TrackVerifier
from fer_edge.system.clock import SteadyClock
from fer_edge.system.closing import Closing
from fer_edge.telemetry import StageTimer, Telemetry
from fer_edge.types import (
    Box,
    CropFault,
    CropSpec,
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


class Pipeline(Closing):
    """Frames of one source in, tracks and events out; one source after another, all in one thread.

    ``events`` and ``results`` take a source; ``process`` takes frames that come from elsewhere.
    """

    def __init__(
        self,
        detector: FaceDetector | None,
        classifier: Classifier,
        settings: RuntimeSettings | None = None,
        telemetry: Telemetry | None = None,
        *,
        adapt_to_cost: bool = False,
        check: FaceReading | None = None,
    ) -> None:
        """``detector`` None is the one that ``settings.detector`` names; ModelError is raised when it is missing.

        ``check`` tells faces from clutter, unless ``detector.verify`` is off; None is the network of the package.

        With ``adapt_to_cost`` (frames that do not wait) the schedule follows the measured cost; without, the same
        frames always give the same tracks. A source that is given later decides that by itself.
        """
        self._classifier = classifier
        self._asked = settings or RuntimeSettings()
        self._telemetry = telemetry or Telemetry()
        self._given_detector = detector
        # A still is searched more strictly than a stream: each of the two is loaded once, and when it is needed.
        self._made = functools.cache(make_detector)
        self._check = functools.cache(self._load_check if check is None else lambda: check)
        self._share = 1.0
        self._begin(self._asked, adapt_to_cost)

    @classmethod
    def from_bundle(
        cls,
        bundle: ModelBundle,
        settings: RuntimeSettings | None = None,
        variant: str | None = None,
        telemetry: Telemetry | None = None,
        *,
        adapt_to_cost: bool = False,
    ) -> Self:
        """The pipeline with the settings' detector and a bundle's ``variant`` (default: that of the settings).

        Raises ModelError when either is refused. The bundle may be closed afterwards.
        """
        settings = settings or RuntimeSettings()
        telemetry = telemetry or Telemetry()
        classifier = EmotionClassifier.from_settings(bundle, settings.model, variant)
        telemetry.interpreter = classifier.interpreter
        return cls(None, classifier, settings, telemetry, adapt_to_cost=adapt_to_cost)

    def events(self, source: FrameSource, stop: threading.Event | None = None) -> Generator[EmotionEvent, None, None]:
        """Every event of ``source``, those too that tell who left when it ended; else as ``results``."""
        last_at, lost = 0.0, None
        with source:
            try:
                for result in self.watch(source, self._limits(), stop or threading.Event()):
                    last_at = result.frame.captured_at
                    yield from result.events
            except (InputError, SourceLostError) as error:
                lost = error
            yield from self.finish(last_at)
        if lost is not None:
            raise lost

    def results(self, source: FrameSource, stop: threading.Event | None = None) -> Generator[FrameResult, None, None]:
        """What came out of each frame of ``source``, until it ends or ``stop`` is set; closes it then.

        A live source gives its newest frame whenever the last result has been dealt with; a file gives them all,
        but for ``source.max_fps`` of the settings. Who leaves early closes the source by ``close`` of this generator,
        which its last reference does as well. Raises InputError for a damaged file, SourceLostError for a camera that
        is gone, and RuntimeError when another source was begun meanwhile: a pipeline follows one at a time.
        """
        with source:
            yield from self.watch(source, self._limits(), stop or threading.Event())

    def watch(
        self, source: FrameSource, limits: Limits, stop: threading.Event, *, again: bool = False
    ) -> Generator[FrameResult, None, None]:
        """``results`` within ``limits``, for who closes ``source``; nobody is known at first, ids start at 1.

        ``again`` is for a source that was lost, and told of by ``finish``, and is back: ids go on.
        """
        if not again:
            self._begin(
                self._asked.for_still() if source.still else self._asked,
                adapt_to_cost=source.live or self._asked.source.realtime,
            )
        dropped, watched = 0, self._tracker
        try:
            for frame in frames_within(limits, source, stop):
                if self._tracker is not watched:
                    raise RuntimeError(f"{source.name}: this pipeline was given another source; make one for each")
                result = self.process(frame)
                yield result
                self._record_age(result)
                self._telemetry.count(dropped=source.dropped - dropped)
                dropped = source.dropped
        finally:
            self._telemetry.count(dropped=source.dropped - dropped)

    def process(self, frame: Frame) -> FrameResult:
        """One frame through all stages."""
        with StageTimer(self._telemetry, "frame", with_cpu=True):
            now = self._clock.advance(frame.captured_at)
            if (frame.width, frame.height) != self._schedule.frame_size:  # nobody is where he was
                self._tracker.clear()
            known = self._follow(frame, now)
            searches = self._plan(frame, known, now)
            faces = self._find_faces(frame, searches)
            with self._telemetry.stage("track"):
                looked_for = {search.track_id for search in searches if search.track_id is not None}
                tracks = self._tracker.update(now, faces, looked_for)
            tracks = self._verify(frame, tracks, now)
            with self._telemetry.stage("track"):
                self._appearance.learn(frame.gray, tracks)
                self._miss(known, tracks, now)
            for track_id, face in self._smoother.due(tracks, now):
                self._smoother.add(track_id, self._read(frame, face), now)
            with self._telemetry.stage("events"):
                readings = self._smoother.readings(tracks)
                emotions, events = self._teller.update(frame.source, readings, now)
        self._source = frame.source
        self._telemetry.count(frames=1, faces=len(faces), events=len(events))
        return FrameResult(frame, self._shown(emotions, tracks, now), events)

    def spare(self, share: float) -> None:
        """From now on take ``share``, 0..1, of the budget for searches that the settings give: for a chip that is hot.

        It is the budget of searches alone, which take most of a frame's time: frames go on being read, followed and
        classified as before. Known faces are looked for later, new ones are found later. The least is 1 % of a core.
        A file that is not paced like a camera is searched as before, so that it gives the same tracks on any machine.
        May be called from any thread.
        """
        self._share = share

    def close(self) -> None:
        """Release the models. Idempotent."""
        self._classifier.close()
        if self._check.cache_info().currsize:  # also where the last source was a still, which is not verified
            self._check().close()

    def finish(self, at: float) -> tuple[EmotionEvent, ...]:
        """The source ended or was lost at ``at``: ``left`` for those still there. Frames may follow; ids go on."""
        events = self._teller.finish(self._source, self._clock.advance(at))
        self._tracker.clear()
        self._forget_the_scene()
        self._telemetry.count(events=len(events))
        return events

    def _begin(self, settings: RuntimeSettings, adapt_to_cost: bool) -> None:
        self._settings = settings
        self._adapt_to_cost = adapt_to_cost
        self._afforded: tuple[float, ScheduleSettings] = (1.0, settings.schedule)
        given = self._given_detector
        self._detector: FaceDetector = self._made(settings.detector) if given is None else given
        self._tracker = Tracker(settings.tracking)
        self._smoother = EmotionSmoother(settings.emotion)
        self._teller = EventTeller(self._classifier.labels, settings.emotion)
        self._clock = SteadyClock()
        self._cost = SearchCost.nominal(settings.detector)
        self._reach = Reach.of(settings.detector)
        self._source = ""
        self._forget_the_scene()

    def _forget_the_scene(self) -> None:
        self._appearance = AppearanceFollower()
        # Where one hit is enough, as in a still picture, no further reading could correct a wrong one.
        verify = self._settings.detector.verify and self._settings.tracking.confirm_hits > 1
        self._verifier = TrackVerifier(self._check()) if verify else None
        self._motion = MotionGate(self._settings.schedule)
        self._schedule = ScheduleState()

    def _load_check(self) -> FaceReading:
        return FaceCheck(self._asked.model.interpreter)

    def _affordable(self) -> ScheduleSettings:
        """The settings of the schedule, with what ``spare`` leaves of the budget."""
        share = self._share if self._adapt_to_cost else 1.0
        if share != self._afforded[0]:
            settings = self._settings.schedule
            self._afforded = share, replace(settings, budget_share=max(LEAST_BUDGET, settings.budget_share * share))
        return self._afforded[1]

    def _limits(self) -> Limits:
        return Limits(max_fps=self._asked.source.max_fps)

    def _record_age(self, result: FrameResult) -> None:
        """How old a frame is once its result has been delivered, glass to event; a file's frames have no age."""
        if result.frame.glass_at is None:
            return
        age_s = time.monotonic() - result.frame.glass_at
        self._telemetry.record("age", age_s)
        if result.events:
            self._telemetry.record("age_at_event", age_s)

    def _shown(
        self, emotions: Sequence[TrackedEmotion], tracks: Sequence[Track], now: float
    ) -> tuple[TrackedEmotion, ...]:
        """Those that were there when last looked for, or a moment ago.

        A face that left is waited for longer than a box around nothing should be shown.
        """
        oldest = now - self._settings.tracking.coast_s
        recent = {track.track_id for track in tracks if not track.lost or track.last_placed >= oldest}
        return tuple(emotion for emotion in emotions if emotion.track_id in recent)

    def _plan(self, frame: Frame, tracks: Sequence[Track], now: float) -> tuple[Search, ...]:
        settings = self._affordable()
        with self._telemetry.stage("plan"):
            watched = [track.box.grown(WATCHED) for track in tracks if track.confirmed]
            motion = self._motion.update(frame.gray, now, watched)
            searches, self._schedule = plan_searches(
                motion, tracks, now, self._cost, self._schedule, settings, self._reach
            )
        return searches

    def _miss(self, before: Sequence[Track], after: Sequence[Track], now: float) -> None:
        """Where a known face was lost for good, something may have changed that was taken for its own movement."""
        left = {track.track_id for track in after}
        for track in before:
            if track.confirmed and track.track_id not in left:
                self._motion.note(track.box.grown(self._settings.schedule.region_margin), now)

    def _follow(self, frame: Frame, now: float) -> tuple[Track, ...]:
        with self._telemetry.stage("follow"):
            tracks = self._tracker.predicted(now)
            self._tracker.place(now, self._appearance.find(frame.gray, tracks))
            return self._tracker.predicted(now)

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
                    hidden=search.hidden,
                )
            if self._adapt_to_cost:
                # Of several threads this one's time is a part alone; no more than each of them took as long.
                seconds = (time.thread_time() - began) * max(1, cv2.getNumThreads())
                self._cost = self._cost.measured(search, seconds)
        return suppress_overlaps(found)

    def _verify(self, frame: Frame, tracks: tuple[Track, ...], now: float) -> tuple[Track, ...]:
        """``tracks`` without those that turned out to be no faces, the doubtful ones unconfirmed."""
        if self._verifier is None or not tracks:
            return tracks
        with self._telemetry.stage("verify"):
            verdict = self._verifier.judge(frame.gray, tracks, now)
            return self._tracker.judge(now, verdict.doubted, verdict.rejected, verdict.sure)

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
        hidden: Sequence[Box] = (),
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

    def close(self) -> None:
        """Release the model; may be called twice."""
        ...
