"""Hide what native libraries write to stderr: they have no log level, and their errors are raised as exceptions too."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator

STDERR_LOCK = threading.RLock()
"""Held while stderr is hidden, and while a line is written that must not be lost.

It is global: if two threads hid stderr at the same time, the second would restore the null device.
"""


@contextlib.contextmanager
def hidden_stderr() -> Iterator[None]:
    """Redirect file descriptor 2 to the null device during the block. Python exceptions are not affected.

    One thread at a time: another waits until the block ends.
    """
    with STDERR_LOCK, contextlib.ExitStack() as restored:
        # A daemon may have no stderr, or no free file descriptor; then nothing is hidden.
        with contextlib.suppress(OSError, ValueError):
            if sys.stderr is not None:
                sys.stderr.flush()
            saved = os.dup(2)
            restored.callback(os.close, saved)
            null = os.open(os.devnull, os.O_WRONLY)
            restored.callback(os.close, null)
            restored.callback(os.dup2, saved, 2)
            os.dup2(null, 2)
        yield
