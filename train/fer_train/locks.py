"""Locks between processes of one machine, released when the process ends in any way.

They are locks of SQLite on an otherwise empty file: available on each system, and released at once when a process is
killed. A heartbeat would report that only after a delay, and wrongly for a suspended process.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from fer_edge.errors import OutputError

_PATIENCE_S = 600.0
"""Much longer than a lock is held: milliseconds, or seconds on a slow disk."""


class FileLock:
    """Held from ``take`` to ``release``, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def take(self, within_s: float = 0.0) -> bool:
        """Return whether the lock is taken ``within_s`` seconds. Raises OutputError if its file cannot be written."""
        connection: sqlite3.Connection | None = None
        try:
            connection = sqlite3.connect(self.path, timeout=within_s, isolation_level=None, check_same_thread=False)
            connection.execute("BEGIN EXCLUSIVE")
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY:
                return False
            raise OutputError(f"{self.path}: cannot lock it: {error}") from None
        self._connection = connection
        return True

    def release(self) -> None:
        """Release the lock. Idempotent."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_held(path: Path) -> bool:
    """Return whether a process, including this one, holds the lock at ``path``; false if the file does not exist."""
    if not path.exists():
        return False
    probe = FileLock(path)
    taken = probe.take()
    probe.release()
    return not taken


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Ensure that only one process is in such a block for one ``path``. Raises OutputError as ``FileLock``."""
    lock = FileLock(path)
    if not lock.take(_PATIENCE_S):
        raise OutputError(
            f"{path}: another process has kept it locked for {_PATIENCE_S / 60:.0f} minutes; stop that process"
        )
    try:
        yield
    finally:
        lock.release()
