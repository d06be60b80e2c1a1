"""Threads that may be inside a native library's call when the process ends."""

from __future__ import annotations

import threading
from collections.abc import Callable


class DriverThread(threading.Thread):
    """A daemon thread that calls a camera's driver, OpenCV, or another library that may never return."""

    def __init__(self, target: Callable[[], object], name: str) -> None:
        super().__init__(target=target, name=name, daemon=True)


def driver_threads_alive() -> bool:
    """Return whether one still runs: one that returns while the interpreter shuts down would abort the process."""
    return any(isinstance(thread, DriverThread) for thread in threading.enumerate())
