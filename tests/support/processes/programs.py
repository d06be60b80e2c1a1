"""Programs that stand where the project expects another, and processes that must come to an end."""

from __future__ import annotations

import time
from contextlib import suppress
from pathlib import Path


def script(path: Path, text: str) -> Path:
    """A shell script at ``path`` that can be started."""
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def assert_ends(pid: int) -> None:
    """The process ``pid``, which is no child of ours, was killed or has ended: who is killed needs a moment to die."""
    stat = Path("/proc") / str(pid) / "stat"
    until = time.monotonic() + 60
    with suppress(FileNotFoundError, ProcessLookupError):
        # Dead is also what was not yet reaped by whoever inherited it.
        while stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
            assert time.monotonic() < until
            time.sleep(0.01)
