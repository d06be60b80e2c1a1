"""What was to be seen lately: seconds of each emotion for each interval, summed over all faces."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass

from fer_edge.types import UNCERTAIN, TrackedEmotion

SPAN_S = 3600.0
"""How far back the history goes."""
_LONGEST_GAP_S = 10.0
"""What lies further behind a source's last frame is not known: it was lost, or the program stood still."""
_MOST_EMOTIONS = 64
"""A bundle has some seven labels; this many bound the memory whatever is told."""


@dataclass(frozen=True, slots=True)
class Interval:
    """One interval, which ended ``ended_ago_s`` seconds ago, or is not over yet where that is below 0.

    ``seconds`` holds, by emotion, how long faces showed it, summed over the faces; ``watched_s`` is how long there
    were frames, summed over the sources.
    """

    ended_ago_s: float
    watched_s: float
    seconds: dict[str, float]


class History:
    """Sums of the last hour in bounded memory; every method may be called from any thread.

    ``interval_s`` is the length of an interval; with ``finished_only`` the running one is not told of, so that nobody
    learns more by asking more often.
    """

    def __init__(self, interval_s: float = 60.0, *, finished_only: bool = False) -> None:
        self.interval_s = interval_s
        self._finished_only = finished_only
        self._keep = max(1, math.ceil(SPAN_S / interval_s))
        self._lock = threading.Lock()
        self._last: dict[str, tuple[float, tuple[str, ...]]] = {}
        self._intervals: dict[int, _Sums] = {}

    def add(self, source: str, tracks: Sequence[TrackedEmotion], now: float) -> None:
        """A frame of ``source`` showed ``tracks`` at ``now``, monotonic seconds. What it showed counts until the next.

        A time that went back, or is no number, counts for nothing.
        """
        if not math.isfinite(now):
            return
        emotions = tuple(track.emotion for track in tracks)
        with self._lock:
            before = self._last.get(source)
            self._last[source] = now, emotions
            if before is None or now <= before[0]:
                return
            began, shown = before
            end = min(now, began + _LONGEST_GAP_S)
            number = int(began // self.interval_s)
            border = (number + 1) * self.interval_s
            self._count(number, shown, min(end, border) - began)
            if end > border:
                self._count(number + 1, shown, end - border)

    def intervals(self, now: float) -> list[Interval]:
        """The intervals of the last hour, oldest first, from the first that anything is known of; all of them have
        the length ``interval_s``."""
        current = int(now // self.interval_s)
        newest = current - 1 if self._finished_only else current
        with self._lock:
            known = [number for number in self._intervals if current - self._keep <= number <= newest]
            numbers = range(min(known), newest + 1) if known else range(0)
            return [
                Interval(now - (number + 1) * self.interval_s, sums.watched_s, dict(sums.seconds))
                for number in numbers
                for sums in (self._intervals.get(number, _NOTHING),)
            ]

    def _count(self, number: int, emotions: Sequence[str], seconds: float) -> None:
        sums = self._intervals.get(number)
        if sums is None:
            # Beyond the next one lies what was counted before the clock went back.
            kept = range(number - self._keep, number + 2)
            self._intervals = {known: sums for known, sums in self._intervals.items() if known in kept}
            sums = self._intervals[number] = _Sums()
        sums.watched_s += seconds
        for emotion in emotions:
            name = emotion if emotion in sums.seconds or len(sums.seconds) < _MOST_EMOTIONS else UNCERTAIN
            sums.seconds[name] = sums.seconds.get(name, 0.0) + seconds


class _Sums:
    __slots__ = ("seconds", "watched_s")

    def __init__(self) -> None:
        self.watched_s = 0.0
        self.seconds: dict[str, float] = {}


_NOTHING = _Sums()
