"""Wait for a condition that another thread, process or machine fulfils."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(what: Callable[[], object], within_s: float = 60.0) -> None:
    """Return once ``what()`` is true; fail after ``within_s`` seconds."""
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
