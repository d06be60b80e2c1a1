"""Files and folders that several test processes share: each is created once, under a lock."""

from __future__ import annotations

import fcntl
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


def made_once(folder: Path, make: Callable[[Path], object]) -> Path:
    """Return ``folder``, created by ``make`` if it does not exist; other processes wait until it is complete.

    ``make`` gets another path and the result is renamed, so an interrupted process leaves no incomplete ``folder``.
    """
    with locked(folder):
        if not folder.exists():
            with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".making-") as scratch:
                made = Path(scratch) / folder.name
                make(made)
                made.rename(folder)
    return folder


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of ``path``, a file next to it, against other processes and threads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        yield
