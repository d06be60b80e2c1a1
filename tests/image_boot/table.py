"""The printed table, with a row for each promise and the observation."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable

from fer_edge.errors import CheckFailedError


class Table:
    """Prints rows at once, including those of broken promises."""

    def __init__(self) -> None:
        self.failures = 0
        self.rows = 0

    def begin(self, what: str) -> None:
        """Start a new part."""
        print(f"\n{what}\n\n| what | what it promises | what the test saw |\n| --- | --- | --- |", flush=True)

    def see(self, what: str, promise: str, look: Callable[[], str], why: Callable[[], str] = str) -> bool:
        """Print the result of ``look`` and return whether it succeeded; if not, print ``why()`` to stderr."""
        self.rows += 1
        try:
            seen = look()
        except (CheckFailedError, subprocess.TimeoutExpired) as error:
            self.failures += 1
            seen = f"**failed**: {error}"
            sys.stderr.write(why().replace("\r", "")[-4000:] + "\n")
        print(f"| {what} | {promise} | {seen} |", flush=True)
        return not seen.startswith("**failed**")
