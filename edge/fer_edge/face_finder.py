"""From a frame to the tracks of its faces: motion, schedule, detection, tracking and verification."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

import cv2

from fer_edge.protocols import FaceDetector
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.appearance import AppearanceTracker
from fer_edge.stages.detection.overlaps import suppress_overlaps
from fer_edge.stages.motion import MotionDetector
from fer_edge.stages.schedule.plan import OWN_MOTION_SIDE, Scheduler
from fer_edge.stages.tracking import Tracker
from fer_edge.stages.verification import TrackVerifier
from fer_edge.telemetry import Telemetry
from fer_edge.types import Face, Frame, Search, Track


class FaceFinder:
    """Finds and follows the faces of one source. All times are seconds of the source's clock.

    Args:
        detector: Detects faces in a region.
        make_verifier: Returns what verifies the tracks of a new scene; None if they are not verified.
        settings: Those of the source.
        telemetry: Receives the time of each stage.
    """

    def __init__(
        self,
        detector: FaceDetector,
        make_verifier: Callable[[], TrackVerifier | None],
        settings: RuntimeSettings,
        telemetry: Telemetry,
    ) -> None:
        self.detected = 0
        """Number of faces that the detector found in the last frame."""
        self._detector, self._make_verifier, self._settings = detector, make_verifier, settings
        self._telemetry = telemetry
        self._tracker = Tracker(settings.tracking)
        self._scheduler = Scheduler(settings.detector, settings.schedule)
        self._start_scene()

    def find(self, frame: Frame, now: float, budget_share: float | None) -> tuple[Track, ...]:
        """Return the tracks of ``frame``.

        Args:
            frame: The next frame.
            now: Its time.
            budget_share: Share of the search budget to use, 0..1, and adapt the schedule to the measured cost of
                searches; None for nominal costs, with which the same frames give the same tracks on any machine.
        """
        timed = self._telemetry.stage
        if (frame.width, frame.height) != self._scheduler.frame_size:  # all positions are invalid
            self._tracker.clear()
        with timed("follow"):
            known = self._follow(frame, now)
        with timed("plan"):
            moving = [track.box.grown(OWN_MOTION_SIDE) for track in known if track.confirmed]
            motion = self._motion.update(frame.gray, now, moving)
            searches = self._scheduler.plan(motion, known, now, 1.0 if budget_share is None else budget_share)
        faces = self._search(frame, searches, measure=budget_share is not None)
        with timed("track"):
            searched_ids = {search.track_id for search in searches if search.track_id is not None}
            tracks = self._tracker.update(now, faces, searched_ids)
        tracks = self._verify(frame, tracks, now)
        with timed("track"):
            self._appearance.update(frame.gray, tracks)
            self._mark_ended(known, tracks, now)
        self.detected = len(faces)
        return tracks

    def in_sight(self, tracks: Sequence[Track], now: float) -> set[int]:
        """Return the ids of those located within ``max_coast_s``: a track outlives the time that its box is shown."""
        oldest = now - self._settings.tracking.max_coast_s
        return {track.track_id for track in tracks if not track.lost or track.last_located >= oldest}

    def restart(self) -> None:
        """Forget all faces, because the source has ended or was lost. Track ids continue to count up."""
        self._tracker.clear()
        self._start_scene()

    def _start_scene(self) -> None:
        self._appearance = AppearanceTracker()
        self._verifier = self._make_verifier()
        self._motion = MotionDetector(self._settings.schedule)
        self._scheduler.restart()

    def _follow(self, frame: Frame, now: float) -> tuple[Track, ...]:
        """Predict the positions of the known faces, and correct them by template matching."""
        tracks = self._tracker.predicted(now)
        self._tracker.relocate(now, self._appearance.find(frame.gray, tracks))
        return self._tracker.predicted(now)

    def _search(self, frame: Frame, searches: Sequence[Search], *, measure: bool) -> list[Face]:
        found: list[Face] = []
        for search in searches:
            began = time.thread_time()
            with self._telemetry.stage("detect_full" if search.track_id is None else "detect_region"):
                found += self._detector.detect(frame.gray, search)
            if measure:
                # With several OpenCV threads this thread measures only its own share; the others take at most as long.
                self._scheduler.record(search, (time.thread_time() - began) * max(1, cv2.getNumThreads()))
        return suppress_overlaps(found)

    def _verify(self, frame: Frame, tracks: tuple[Track, ...], now: float) -> tuple[Track, ...]:
        """Return ``tracks`` without those rejected as clutter; unproven ones are unconfirmed."""
        if self._verifier is None or not tracks:
            return tracks
        with self._telemetry.stage("verify"):
            verdict = self._verifier.judge(frame.gray, tracks, now)
            return self._tracker.judge(now, verdict.doubted, verdict.rejected, verdict.sure)

    def _mark_ended(self, before: Sequence[Track], after: Sequence[Track], now: float) -> None:
        """Mark the areas of ended tracks as changed, because changes in them were attributed to the tracked face."""
        remaining = {track.track_id for track in after}
        for track in before:
            if track.confirmed and track.track_id not in remaining:
                self._motion.mark(track.box.grown(self._settings.schedule.region_margin), now)
