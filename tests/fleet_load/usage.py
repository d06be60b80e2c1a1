"""Processor time and memory of each part while it runs, also over its restarts."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Mapping

import psutil

_EVERY_S = 2.0


class Usage:
    """Sample the processes of each part, and their children: seconds of processor time, and most MiB at once.

    Memory is the proportional set size: the processes of PostgreSQL share most of theirs.
    """

    def __init__(self, parts: Mapping[str, Callable[[], int]]) -> None:
        self._parts = parts
        self._seconds: dict[tuple[str, int], float] = {}
        self.max_mib = dict.fromkeys(parts, 0.0)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Usage:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()

    def seconds(self, part: str) -> float:
        """Processor time so far."""
        return sum(seconds for (name, _), seconds in self._seconds.items() if name == part)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self._sample()

    def _sample(self) -> None:
        for part, pid in self._parts.items():
            mib = 0.0
            with contextlib.suppress(psutil.Error, OSError, ValueError, IndexError):  # it is being restarted
                first = psutil.Process(pid())
                # The benchmark starts the other parts, which are not parts of it.
                for process in [first] if part == "devices" else [first, *first.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        times = process.cpu_times()
                        self._seconds[part, process.pid] = times.user + times.system
                        mib += process.memory_full_info().pss / 2**20
            self.max_mib[part] = max(self.max_mib[part], mib)
