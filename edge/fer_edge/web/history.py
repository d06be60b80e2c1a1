"""Emotions of the last hour: seconds of each emotion per interval, summed over all faces."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from fer_edge.system.closing import Closing
from fer_edge.types import UNCERTAIN, FrameResult, TrackedEmotion

SPAN_S = 3600.0
"""Length of the history, seconds."""
_MAX_GAP_S = 10.0
"""A frame counts for at most this long: after a longer gap the source was lost or the program was suspended."""
FACE = "face"
"""Name of the time of faces that are not classified."""
_MAX_EMOTIONS = 64
"""Bounds the memory if callers pass arbitrary names; a bundle has about seven labels."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval of the history.

    Attributes:
        ended_ago_s: Seconds since the end of the interval; negative while it is running.
        watched_s: Time with frames, summed over the sources.
        seconds: For each emotion, how long faces showed it, summed over the faces.
    """

    ended_ago_s: float
    watched_s: float
    seconds: dict[str, float]


@dataclass(slots=True)
class _Sums:
    watched_s: float = 0.0
    seconds: dict[str, float] = field(default_factory=dict)


class History(Closing):
    """A ``FrameRecorder`` of sums of the last hour, in bounded memory. Thread-safe.

    Args:
        interval_s: Length of an interval, seconds.
        finished_only: Omit the running interval, so that frequent requests do not reveal single moments.
    """

    def __init__(self, interval_s: float = 60.0, *, finished_only: bool = False) -> None:
        self.interval_s = interval_s
        self._finished_only = finished_only
        self._keep = max(1, math.ceil(SPAN_S / interval_s))
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._intervals: dict[int, _Sums] = {}

    def record(self, result: FrameResult) -> None:
        """Add one result now."""
        self.add(result.frame.source, result.tracks, time.monotonic())

    def add(self, source: str, tracks: Sequence[TrackedEmotion], now: float) -> None:
        """Add the tracks of a frame of ``source`` at ``now``, monotonic seconds. They count until its next frame.

        Times that are not finite, or earlier than the last one, add nothing.
        """
        if not math.isfinite(now):
            return
        emotions = tuple(track.emotion or FACE for track in tracks)
        with self._lock:
            before = self._last.get(source)
            self._last[source] = now, emotions
            if before is None or now <= before[0]:
                return
            began, shown = before
            end = min(now, began + _MAX_GAP_S)
            number = int(began // self.interval_s)
            border = (number + 1) * self.interval_s
            self._count(number, shown, min(end, border) - began)
            if end > border:
                self._count(number + 1, shown, end - border)

    def intervals(self, now: float) -> list[Interval]:
        """Return the intervals of the last hour, oldest first, starting with the first that has data."""
        current = int(now // self.interval_s)
        newest = current - 1 if self._finished_only else current
        with self._lock:
            known = [number for number in self._intervals if current - self._keep <= number <= newest]
            numbers = range(min(known), newest + 1) if known else range(0)
            return [
                Interval(now - (number + 1) * self.interval_s, sums.watched_s, dict(sums.seconds))
                for number in numbers
                for sums in (self._intervals.get(number, _Sums()),)
            ]

    def _count(self, number: int, emotions: Sequence[str], seconds: float) -> None:
        sums = self._intervals.get(number)
        if sums is None:
            # Intervals beyond the next one were counted before the clock went back.
            kept = range(number - self._keep, number + 2)
            self._intervals = {known: sums for known, sums in self._intervals.items() if known in kept}
            sums = self._intervals[number] = _Sums()
        sums.watched_s += seconds
        for emotion in emotions:
            name = emotion if emotion in sums.seconds or len(sums.seconds) < _MAX_EMOTIONS else UNCERTAIN
            sums.seconds[name] = sums.seconds.get(name, 0.0) + seconds
