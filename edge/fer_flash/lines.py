"""What the commands of this package print while they work."""

from __future__ import annotations

import sys


def tell(line: str) -> None:
    """A line on standard output for whoever waits, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
