"""What the program says to people on standard error: one line for each thing that went wrong."""

from __future__ import annotations

import contextlib
import sys


def say(message: str) -> None:
    """``message`` as one line on standard error, marked as ours."""
    with contextlib.suppress(OSError):  # nobody is there to read it, and the exit code still tells
        sys.stderr.write(f"fer-edge: {' '.join(message.split())}\n")
        sys.stderr.flush()
