"""Waiting for what happens elsewhere: in another thread, process or machine."""

from __future__ import annotations

import time
from collections.abc import Callable


def wait_for(what: Callable[[], object], within_s: float = 60.0) -> None:
    """Return once ``what()`` is true; fail when that takes too long."""
    until = time.monotonic() + within_s
    while not what():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
