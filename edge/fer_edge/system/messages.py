"""What the program says to people, in lines: on standard error one for each thing that went wrong."""

from __future__ import annotations

import contextlib
import sys

from fer_edge.system.stderr import STDERR_LOCK


def printable(text: str) -> str:
    """``text`` with "?" for what a terminal would obey instead of showing it: escape sequences, ends of lines."""
    return "".join(character if character.isprintable() else "?" for character in text)


def print_message(message: str) -> None:
    """``message`` as one line on standard error, marked as ours."""
    # OSError: nobody is there to read it, and the exit code still tells.
    with STDERR_LOCK, contextlib.suppress(OSError):
        sys.stderr.write(f"fer-edge: {' '.join(message.split())}\n")
        sys.stderr.flush()
