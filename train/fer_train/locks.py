"""Locks between processes of one machine, that end with their process, however it ends.

They are SQLite's own, on a file that holds nothing else: every system has them, and a study is a file of SQLite anyway.
A process that was killed holds none any more at once; a heartbeat would tell that only after a while, and of one that
was merely suspended it would tell the wrong thing.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

from fer_edge.errors import OutputError

_PATIENCE_S = 600.0
"""Longer than anybody holds a study's lock: that is for milliseconds, or seconds where a disk is slow."""


class FileLock:
    """Held from ``take`` to ``release``, or to the end of the process."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._connection: sqlite3.Connection | None = None

    def take(self, within_s: float = 0.0) -> bool:
        """Whether it could be had ``within_s`` seconds. Raises OutputError when its file cannot be written."""
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
        """Let others have it; harmless when called again."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def is_held(path: Path) -> bool:
    """Whether a process, this one too, holds the lock at ``path``; false where there is none."""
    if not path.exists():
        return False
    probe = FileLock(path)
    taken = probe.take()
    probe.release()
    return not taken


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """No two processes are inside such a block for one ``path`` at a time. Raises OutputError as ``FileLock`` does."""
    lock = FileLock(path)
    if not lock.take(_PATIENCE_S):
        raise OutputError(
            f"{path}: another process has kept it locked for {_PATIENCE_S / 60:.0f} minutes; end that one"
        )
    try:
        yield
    finally:
        lock.release()
