"""Messages to the user on standard error: one line each, prefixed with the program's name."""

from __future__ import annotations

import contextlib
import sys

from fer_edge.system.stderr import STDERR_LOCK


def printable(text: str) -> str:
    """Return ``text`` with "?" for each control character, so that a terminal cannot interpret it."""
    return "".join(character if character.isprintable() else "?" for character in text)


def print_message(message: str) -> None:
    """Print ``message`` as one line on standard error, prefixed with ``fer-edge:``."""
    # OSError: standard error is closed. The exit code still reports the problem.
    with STDERR_LOCK, contextlib.suppress(OSError):
        sys.stderr.write(f"fer-edge: {' '.join(message.split())}\n")
        sys.stderr.flush()
