"""When the pictures of a stream were taken: later and later than now if the stream falls behind."""

from __future__ import annotations

import math
import time
from pathlib import Path

_WINDOW_S = 1.0
_MIN_IDLE_SHARE = 0.5
"""A thread that waits for data for this share of a window is not behind: it has read everything that arrived."""


class CaptureClock:
    """Estimates capture times from a stream's timestamps and from when its pictures arrive.

    Data that is not read in time waits in the buffers of the network, and is old when it is read. The
    picture with the shortest delay so far maps timestamps to the monotonic clock; others are late by the difference.
    A lag that persists while the reading thread mostly waits is a difference of clocks, or a longer way through the
    network, and is forgotten. All calls are made by the thread that reads.

    >>> clock = CaptureClock()
    >>> [clock.advance(media_s, now) for media_s, now in ((0.0, 100.0), (0.1, 100.1), (0.2, 103.2), (3.3, 103.3))]
    [100.0, 100.1, 100.2, 103.3]
    """

    def __init__(self) -> None:
        self._media_s = self._start = math.nan
        self._window_began = self._idle_s = -math.inf
        self._min_lag_s = math.inf

    def advance(self, media_s: float, now: float) -> float:
        """Return when the next picture was taken, at most ``now``, seconds of the monotonic clock.

        Args:
            media_s: Timestamp of the picture. One that does not increase is not used: ``now`` is returned.
            now: When the picture was read.
        """
        start = now - media_s
        advances = media_s > self._media_s
        self._media_s = media_s
        if not advances or not math.isfinite(start):  # the first, or a stream that started again
            self._start = start
            self._begin_window(now)
            return now
        self._start = min(self._start, start)
        lag_s = start - self._start
        self._min_lag_s = min(self._min_lag_s, lag_s)
        if now - self._window_began >= _WINDOW_S:
            if _idle_s(now) - self._idle_s > _MIN_IDLE_SHARE * (now - self._window_began):
                self._start += self._min_lag_s
                lag_s -= self._min_lag_s
            self._begin_window(now)
        return now - lag_s

    def _begin_window(self, now: float) -> None:
        self._window_began, self._min_lag_s = now, math.inf
        self._idle_s = _idle_s(now)


def _idle_s(now: float) -> float:
    """Return ``now`` without the time in which this thread ran, or was ready to run but other programs ran.

    The second field of schedstat is the time spent waiting on a run queue, nanoseconds:
    https://docs.kernel.org/scheduler/sched-stats.html
    """
    try:
        ready_ns = int(Path("/proc/thread-self/schedstat").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):  # another system
        ready_ns = 0
    return now - time.thread_time() - ready_ns / 1e9
