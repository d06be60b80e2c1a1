"""Hides what native libraries write to stderr: they have no log level, and their errors come as exceptions too."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

STDERR_LOCK = threading.RLock()
"""Held while standard error is hidden, and by who writes a line that must not be lost.

It belongs to the whole process: of two threads that hide it at once, the second would put back what hides it.
"""


@contextlib.contextmanager
def hidden_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere while the block runs; Python's own exceptions pass through untouched.

    One thread at a time: another that comes meanwhile waits for the end of the block.
    """
    with STDERR_LOCK, contextlib.ExitStack() as restored:
        # A daemon may run with no stderr at all, or with no file descriptor left: then nothing is hidden.
        with contextlib.suppress(OSError, ValueError):
            _point_stderr_to_null(restored)
        yield


def _point_stderr_to_null(restored: contextlib.ExitStack) -> None:
    if sys.stderr is not None:
        sys.stderr.flush()
    with contextlib.ExitStack() as undo:
        saved = os.dup(2)
        undo.callback(os.close, saved)
        null = os.open(os.devnull, os.O_WRONLY)
        undo.callback(os.close, null)
        undo.callback(os.dup2, saved, 2)
        os.dup2(null, 2)
        restored.push(undo.pop_all())
