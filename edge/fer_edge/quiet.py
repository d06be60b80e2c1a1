"""Hides what native libraries write to stderr: they have no log level, and their errors come as exceptions too."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_stderr() -> Iterator[None]:
    """Send file descriptor 2 to nowhere while the block runs; Python's own exceptions pass through untouched."""
    try:
        saved = os.dup(2)
    except OSError:  # a daemon may run with no stderr at all
        yield
        return
    if sys.stderr is not None:
        sys.stderr.flush()
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(saved, 2)
        os.close(saved)
        os.close(null)
