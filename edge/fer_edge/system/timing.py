"""Time: a source's clock that never runs backwards, exponential backoff, and the deadline of a stop."""

from __future__ import annotations

import math
import threading
import time


class SteadyClock:
    """Makes the time of a source monotonic: after a jump back it continues from its last value."""

    def __init__(self) -> None:
        self._raw: float | None = None
        self._now = 0.0
        self._started = False
        self.step_s = 0.0
        """Seconds by which the last call of ``advance`` advanced it; 0 for the first."""

    def advance(self, raw: float) -> float:
        """Return the monotonic time for the source's time ``raw``, seconds. A non-finite time does not advance it."""
        self.step_s = 0.0
        first, self._started = not self._started, True
        if not math.isfinite(raw):
            return self._now
        step_s = 0.0 if self._raw is None else max(0.0, raw - self._raw)
        later = raw if first else self._now + step_s
        self._raw = raw
        if math.isfinite(later):  # the difference of two huge times may not be finite
            self._now, self.step_s = later, step_s
        return self._now


class Backoff:
    """Delays that start at ``first_s`` seconds and double up to ``max_s``."""

    def __init__(self, first_s: float, max_s: float) -> None:
        self._first_s, self._max_s = first_s, max_s
        self.wait_s = first_s
        """The next delay, seconds."""

    def take(self) -> float:
        """Return the next delay in seconds, and double the one after it."""
        wait_s = self.wait_s
        self.wait_s = min(2 * wait_s, self._max_s)
        return wait_s

    def reset(self) -> None:
        """Start again at ``first_s``, after a success."""
        self.wait_s = self._first_s


class StopEvent(threading.Event):
    """An event that asks for the end; ``ends_at`` is when the process ends at the latest, on the monotonic clock."""

    ends_at = math.inf

    @property
    def left_s(self) -> float:
        """Seconds until ``ends_at``, 0 or more."""
        return max(0.0, self.ends_at - time.monotonic())
