"""What is printed: a table with a row for each promise, and what was seen of it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from fer_edge.errors import CheckFailedError


class Table:
    """Rows as they come; a promise that is not kept is a row too."""

    def __init__(self) -> None:
        self.failures = 0
        self.rows = 0

    def begin(self, what: str) -> None:
        """A part of its own."""
        print(f"\n{what}\n\n| what | what it promises | what the test saw |\n| --- | --- | --- |", flush=True)

    def see(self, what: str, promise: str, look: Callable[[], str], why: Callable[[], str] = str) -> bool:
        """Print what ``look`` saw, and tell whether it did; where it did not, what ``why`` tells goes to stderr."""
        self.rows += 1
        try:
            seen = look()
        except (CheckFailedError, subprocess.TimeoutExpired) as error:
            self.failures += 1
            seen = f"**failed**: {error}"
            sys.stderr.write(why()[-6000:] + "\n")
        print(f"| {what} | {promise} | {seen} |", flush=True)
        return not seen.startswith("**failed**")
