"""Who waits for whom: a camera for nothing, a file for all that is written of it."""

from __future__ import annotations

import threading
import time

POLL_S = 0.2
"""How long a wait for room lasts before it is looked whether to wait on."""
DRAIN_S = 5.0
"""How long what is held may take to be passed on once the end was asked for."""


class Pace:
    """``live``: the world does not wait. Otherwise it does, until ``stop`` is set, and for ``drain_s`` more."""

    def __init__(self, *, live: bool, stop: threading.Event | None = None, drain_s: float = DRAIN_S) -> None:
        self.live, self.drain_s = live, drain_s
        self._stop = stop
        self._stopped_at: float | None = None

    def waits(self) -> bool:
        """Whether to wait for room, or else drop what is oldest."""
        if self.live or self._stop is None or not self._stop.is_set():
            return not self.live
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
        return time.monotonic() < self._stopped_at + self.drain_s
