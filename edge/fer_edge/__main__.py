"""``python -m fer_edge`` and the ``fer-edge`` script."""

from __future__ import annotations

import os
import sys
from typing import NoReturn


def program() -> NoReturn:
    """Run ``fer-edge`` as the process and exit with its code; Ctrl-C is one line even while modules are loaded."""
    try:
        from fer_edge.commands.cli import program as run

        run()
    except KeyboardInterrupt:
        sys.stderr.write("fer-edge: interrupted\n")
        sys.stderr.flush()
        os._exit(130)


if __name__ == "__main__":
    program()
