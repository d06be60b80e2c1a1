"""Progress feeds the watchdog, and nothing else does: who hangs is ended by systemd, however alive the others are."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable


class Progress:
    """Knows when each of several workers last got on, and calls ``feed`` while all of them do.

    A worker counts as stuck when its last ``beat`` is more than ``within_s`` ago; then nobody feeds any more. ``feed``
    is called from the workers' threads, for every beat: it limits itself.
    """

    def __init__(self, workers: Iterable[str], feed: Callable[[], object], within_s: float) -> None:
        now = time.monotonic()
        self._lock = threading.Lock()
        self._at = dict.fromkeys(workers, now)
        self._feed, self._within_s = feed, within_s

    def beat(self, worker: str) -> None:
        """``worker`` processed a frame, or has done with an attempt to open its source."""
        now = time.monotonic()
        with self._lock:
            self._at[worker] = now
            all_get_on = all(now - at <= self._within_s for at in self._at.values())
        if all_get_on:
            self._feed()

    def ended(self, worker: str) -> None:
        """``worker`` has nothing more to do."""
        with self._lock:
            self._at.pop(worker, None)
