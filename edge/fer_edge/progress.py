"""Progress feeds the watchdog, and nothing else does: who hangs is ended by systemd, however alive the others are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable


class Progress:
    """Knows when each of several workers last got on, and calls ``feed`` while all of them do.

    A worker counts as stuck when its last ``beat`` is more than ``within_s`` ago; then nobody feeds any more. ``feed``
    is called from the workers' threads, at most once every ``every_s``.
    """

    def __init__(
        self, workers: Iterable[str], feed: Callable[[], object], within_s: float, every_s: float = 1.0
    ) -> None:
        now = time.monotonic()
        self._lock = threading.Lock()
        self._at = dict.fromkeys(workers, now)
        self._feed, self._within_s, self._every_s = feed, within_s, every_s
        self._fed_at = -every_s

    def beat(self, worker: str) -> None:
        """``worker`` processed a frame, or has done with an attempt to open its source."""
        now = time.monotonic()
        with self._lock:
            self._at[worker] = now
            due = now - self._fed_at >= self._every_s and all(now - at <= self._within_s for at in self._at.values())
            if due:
                self._fed_at = now
        if due:
            self._feed()

    def ended(self, worker: str) -> None:
        """``worker`` has nothing more to do."""
        with self._lock:
            self._at.pop(worker, None)
