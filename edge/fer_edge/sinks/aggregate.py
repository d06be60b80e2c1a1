"""Replace the events of each person by counts of an interval, for ``privacy = "aggregate"``."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from fer_edge.sinks.base import ManagedSink
from fer_edge.types import EmotionEvent, EventKind, FaceCounts, FrameResult, TrackedEmotion

_PASSED_ON = (EventKind.SOURCE_LOST, EventKind.SOURCE_BACK)
_MAX_MISSED = 1000
"""Maximum number of past intervals to emit one by one; if more have passed, those in between are skipped."""


class _Interval:
    """Faces and emotions of one source since ``start``; all times are seconds of the same clock."""

    def __init__(self, start: float) -> None:
        self.start = self._counted_to = start
        self._shown: dict[int, str | None] = {}
        self._appeared = self._max_at_once = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)
        self._zones: dict[int, str | None] = {}
        self._entered: defaultdict[str, int] = defaultdict(int)

    def take(self, event: EmotionEvent, now: float) -> None:
        self._count_to(now)
        track = event.track_id
        if event.kind is EventKind.SOURCE_LOST:
            self._shown.clear()
            self._zones.clear()
        elif track is None or event.kind is EventKind.HEARTBEAT:
            return
        elif event.kind is EventKind.LEFT:
            self._shown.pop(track, None)
            self._zones.pop(track, None)
        else:
            self._appeared += track not in self._shown
            self._shown[track] = event.emotion
            self._max_at_once = max(self._max_at_once, len(self._shown))

    def move(self, tracks: Iterable[TrackedEmotion]) -> None:
        """Count the tracks that came into a zone."""
        for track in tracks:
            if track.zone != self._zones.get(track.track_id):
                self._zones[track.track_id] = track.zone
                if track.zone is not None:
                    self._entered[track.zone] += 1

    def finish(self, end: float) -> FaceCounts:
        """Return the counts up to ``end`` and begin the next interval."""
        self._count_to(end)
        counts = FaceCounts(
            end - self.start, self._appeared, self._max_at_once, dict(self._seconds), dict(self._entered)
        )
        self.start, self._appeared, self._max_at_once = end, 0, len(self._shown)
        self._seconds.clear()
        self._entered.clear()
        return counts

    def _count_to(self, now: float) -> None:
        if now > self._counted_to:
            for emotion in filter(None, self._shown.values()):
                self._seconds[emotion] += now - self._counted_to
            self._counted_to = now


class AggregatingSink(ManagedSink):
    """Count events, and emit one ``counts`` event for each source and interval to ``sink``.

    ``source_lost`` and ``source_back`` are passed on. Intervals begin at whole multiples of ``every_s``, so that their
    times do not show when a person appeared.

    Args:
        every_s: Length of an interval, in seconds.
        live: If true, intervals are measured by the monotonic clock from the start, and counts are emitted for every
            source even if no face was seen. Otherwise they are measured by the source's media time.
        sources: Returns the names of all sources.
    """

    def __init__(
        self, sink: ManagedSink, every_s: float, *, live: bool, sources: Callable[[], Iterable[str]] = tuple
    ) -> None:
        self._sink, self._every_s, self._live, self._sources = sink, every_s, live, sources
        self._lock = threading.RLock()
        self._intervals: dict[str, _Interval] = {}
        self._started = time.monotonic()
        self._closing = threading.Event()
        self._failure: Exception | None = None
        self._thread = threading.Thread(target=self._tick, name="counts", daemon=True)
        if live:
            self._thread.start()

    def emit(self, event: EmotionEvent) -> None:
        """Count ``event``. Raises the error that ended ``sink``, if any."""
        with self._lock:
            self._raise_failure()
            passed_on = event.kind in _PASSED_ON
            if self._live or not passed_on:  # events passed on have monotonic time, even for a file
                now = self._now(event.mono)
                self._advance(event.source, now)
                if event.source in self._intervals:
                    self._intervals[event.source].take(event, now)
            if passed_on:
                self._sink.emit(event)

    def record(self, result: FrameResult) -> None:
        """Advance the time of the frame's source. Raises the error that ended ``sink``, if any."""
        with self._lock:
            self._raise_failure()
            if not self._live:
                self._advance(result.frame.source, result.frame.captured_at)
            if result.frame.source in self._intervals:
                self._intervals[result.frame.source].move(result.tracks)
            self._sink.record(result)

    def start_closing(self) -> None:
        """Emit the counts of the last interval and start closing ``sink``."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            if self._live:
                self._advance_all()
            for source, interval in self._intervals.items():
                # The end of a file may be the moment when a person left, so its last interval has the full length.
                now = self._now(interval.start + self._every_s)
                if now > interval.start:
                    self._emit_counts(source, now)
            self._sink.start_closing()

    def close(self) -> None:
        """Emit the counts of the last interval and close ``sink``."""
        try:
            self.start_closing()
        finally:
            self._sink.close()

    def _now(self, mono: float) -> float:
        return time.monotonic() - self._started if self._live else mono

    def _advance(self, source: str, now: float) -> None:
        """Emit the counts of each interval of ``source`` that ended by ``now``."""
        if not math.isfinite(now):
            return
        begun = self._every_s * (now // self._every_s)
        interval = self._intervals.setdefault(source, _Interval(begun))
        while now >= interval.start + self._every_s:
            self._emit_counts(source, interval.start + self._every_s)
            if begun - interval.start > _MAX_MISSED * self._every_s:  # the clock jumped
                interval.finish(begun)

    def _advance_all(self) -> None:
        for source in {*self._sources(), *self._intervals}:
            self._advance(source, self._now(0.0))

    def _emit_counts(self, source: str, end: float) -> None:
        counts = self._intervals[source].finish(end)
        mono = self._started + end if self._live else end
        self._sink.emit(EmotionEvent(EventKind.COUNTS, source, time.time(), mono, counts=counts))

    def _tick(self) -> None:
        try:
            while not self._closing.wait(self._every_s - (time.monotonic() - self._started) % self._every_s):
                with self._lock:
                    if self._closing.is_set():
                        return
                    self._advance_all()
        except Exception as error:  # noqa: BLE001 - raised by the next ``emit`` or ``record``
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
