"""Whether a full sink blocks the pipeline: never for a camera, and until there is room for a file."""

from __future__ import annotations

import threading
import time

POLL_S = 0.2
"""Interval in seconds at which a blocked caller checks whether to keep waiting."""
DRAIN_S = 5.0
"""Time in seconds for sending what is queued, once a sink is being closed."""


class Pace:
    """How a sink treats a caller when it is full, and how long closing takes.

    Args:
        live: If true, nothing waits. Otherwise the caller waits for room until ``drain_s`` seconds after ``stop`` is
            set.
    """

    def __init__(self, *, live: bool, stop: threading.Event | None = None, drain_s: float = DRAIN_S) -> None:
        self.live, self.drain_s = live, drain_s
        self._stop = stop
        self._stopped_at: float | None = None

    def waits(self) -> bool:
        """Return whether to wait for room rather than drop the oldest event."""
        if self.live or self._stop is None or not self._stop.is_set():
            return not self.live
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
        return time.monotonic() < self._stopped_at + self.drain_s
