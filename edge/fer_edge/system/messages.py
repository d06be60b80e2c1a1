"""Messages to the user on standard error: one line each, prefixed with the program's name."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from fer_edge.system.stderr import STDERR_LOCK

_MAX_HIDDEN_S = 1.0
"""Seconds to wait for stderr. A native call that never returns may keep it hidden; then the line is lost."""


def printable(text: str) -> str:
    """Return ``text`` with "?" for each control character, so that a terminal cannot interpret it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def print_message(message: str, *, max_wait_s: float = _MAX_HIDDEN_S) -> None:
    """Print ``message`` as one line on standard error, prefixed with ``fer-edge:``.

    While a native library's output is hidden, this waits at most ``max_wait_s`` seconds.
    """
    # OSError: standard error is closed. The exit code still reports the problem.
    with _stderr_shown(max_wait_s), contextlib.suppress(OSError):
        sys.stderr.write(f"fer-edge: {' '.join(message.split())}\n")
        sys.stderr.flush()


@contextlib.contextmanager
def _stderr_shown(max_wait_s: float) -> Iterator[None]:
    held = STDERR_LOCK.acquire(timeout=max_wait_s)
    try:
        yield
    finally:
        if held:
            STDERR_LOCK.release()
