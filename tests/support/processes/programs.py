"""Scripts that replace programs, and an assertion that a process ends."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def script(path: Path, text: str) -> Path:
    """Write an executable shell script to ``path``."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def assert_ends(pid: int) -> None:
    """Assert that process ``pid``, not a child of this one, ends soon: a killed process may take a moment to die."""
    stat = Path("/proc") / str(pid) / "stat"
    until = time.monotonic() + 60
    with suppress(FileNotFoundError, ProcessLookupError):
        # A zombie counts as dead: the process that inherited it may not have reaped it yet.
        while stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
            assert time.monotonic() < until
            time.sleep(0.01)
