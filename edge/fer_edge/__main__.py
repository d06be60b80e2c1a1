"""``python -m fer_edge`` and the ``fer-edge`` script."""

from __future__ import annotations

import contextlib
import os
import signal
from types import FrameType
from typing import NoReturn


def program() -> NoReturn:
    """Run ``fer-edge`` as the process and exit with its code; Ctrl-C is one line even while modules are loaded."""
    try:
        # KeyboardInterrupt during an import may be lost: Python ignores what a callback of the import lock raises.
        not_ignored = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not_ignored:
            signal.signal(signal.SIGINT, _end)
        from fer_edge.commands.cli import program as run

        if not_ignored:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        run()
    except KeyboardInterrupt:
        _end()


def _end(number: int = signal.SIGINT, frame: FrameType | None = None) -> NoReturn:
    with contextlib.suppress(OSError):  # stderr may be closed
        os.write(2, b"fer-edge: interrupted\n")
    os._exit(130)


if __name__ == "__main__":
    program()
