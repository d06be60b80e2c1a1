"""``privacy = "aggregate"``: in place of what each person does, what everybody did together in an interval."""

from __future__ import annotations

import math
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable

from fer_edge.protocols import ClosingSink
from fer_edge.sinks.base import ManagedSink, ProcessedFrame
from fer_edge.types import EmotionEvent, EventKind, FaceCounts

_PASSES = (EventKind.SOURCE_LOST, EventKind.SOURCE_BACK)
_MOST_AT_ONCE = 1000
"""Intervals that are told of one after the other; where more have passed, those between are left out."""


class _Interval:
    """What one source showed since ``start``; times are seconds on one clock."""

    def __init__(self, start: float) -> None:
        self.start = start
        self._shown: dict[int, tuple[str, float]] = {}
        self._appeared = self._most = 0
        self._seconds: defaultdict[str, float] = defaultdict(float)

    def take(self, event: EmotionEvent, now: float) -> None:
        track = event.track_id
        if event.kind is EventKind.SOURCE_LOST:
            self._pause_all(now)
            self._shown.clear()
        elif track is None or event.kind is EventKind.HEARTBEAT:
            return
        elif event.kind is EventKind.LEFT:
            self._add(track, now)
            self._shown.pop(track, None)
        elif event.emotion is not None:
            self._appeared += track not in self._shown
            self._add(track, now)
            self._shown[track] = event.emotion, now
            self._most = max(self._most, len(self._shown))

    def finish(self, end: float, length_s: float) -> FaceCounts:
        """The counts up to ``end``; what follows belongs to the next interval."""
        self._pause_all(end)
        counts = FaceCounts(length_s, self._appeared, self._most, dict(self._seconds))
        self.start, self._appeared, self._most = end, 0, len(self._shown)
        self._seconds.clear()
        return counts

    def _pause_all(self, now: float) -> None:
        for track, (emotion, _) in list(self._shown.items()):
            self._add(track, now)
            self._shown[track] = emotion, now

    def _add(self, track: int, now: float) -> None:
        if track in self._shown:
            emotion, since = self._shown[track]
            self._seconds[emotion] += max(0.0, now - max(since, self.start))


class AggregatingSink(ClosingSink):
    """Stands before ``sink``: takes events, and passes on one ``counts`` event for each source every ``every_s``.

    That a source was lost or is back is passed on as well. Intervals begin at whole multiples of ``every_s``, so that
    none tells when somebody came: of the source's own time for files, of the time since the start for cameras
    (``live``), of which all ``sources`` are told, also when nobody is there.
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
        """Count ``event``. Raises what ended the sink behind."""
        with self._lock:
            self._raise_failure()
            passes = event.kind in _PASSES
            if self._live or not passes:  # which are told by the monotonic clock, of files too
                now = self._now(event.mono)
                self._advance(event.source, now)
                if event.source in self._intervals:
                    self._intervals[event.source].take(event, now)
            if passes:
                self._sink.emit(event)

    def record(self, result: ProcessedFrame) -> None:
        """Time goes on, though nothing may happen. Raises what ended the sink behind."""
        with self._lock:
            self._raise_failure()
            if not self._live:
                self._advance(result.frame.source, result.frame.captured_at)
            self._sink.record(result)

    def start_closing(self) -> None:
        """Pass on the counts of the last interval."""
        with self._lock:
            if self._closing.is_set():
                return
            self._closing.set()
            if self._live:
                self._advance_all()
            for source, interval in self._intervals.items():
                # A file's end may be the moment somebody left: its last interval counts as a whole one.
                now = self._now(interval.start + self._every_s)
                if now > interval.start:
                    self._tell(source, now)
            self._sink.start_closing()

    def close(self) -> None:
        """Pass on the counts of the last interval, and close the sink behind."""
        try:
            self.start_closing()
        finally:
            self._sink.close()

    def _now(self, mono: float) -> float:
        return time.monotonic() - self._started if self._live else mono

    def _advance(self, source: str, now: float) -> None:
        """Tell of each interval of ``source`` that has ended by ``now``."""
        if not math.isfinite(now):
            return
        begun = self._every_s * (now // self._every_s)
        interval = self._intervals.setdefault(source, _Interval(begun))
        while now >= interval.start + self._every_s:
            self._tell(source, interval.start + self._every_s)
            if begun - interval.start > _MOST_AT_ONCE * self._every_s:  # a clock that jumped
                interval.finish(begun, self._every_s)

    def _advance_all(self) -> None:
        for source in {*self._sources(), *self._intervals}:
            self._advance(source, self._now(0.0))

    def _tell(self, source: str, end: float) -> None:
        interval = self._intervals[source]
        counts = interval.finish(end, end - interval.start)
        mono = self._started + end if self._live else end
        self._sink.emit(EmotionEvent(EventKind.COUNTS, source, time.time(), mono, counts=counts))

    def _tick(self) -> None:
        try:
            while not self._closing.wait(self._every_s - (time.monotonic() - self._started) % self._every_s):
                with self._lock:
                    if self._closing.is_set():
                        return
                    self._advance_all()
        except Exception as error:  # noqa: BLE001 - carried to whoever emits next
            self._failure = error

    def _raise_failure(self) -> None:
        if self._failure is not None:
            raise self._failure
