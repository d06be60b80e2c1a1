"""A line on the terminal that shows how much of a task is done."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

_EVERY_S = 0.1
_WIDTH = 30


class Progress:
    """Shows ``done`` of ``total`` items on standard error, if that is a terminal; the line is gone after the block.

    >>> with Progress(2, "images") as progress:
    ...     for number in range(2):
    ...         progress.show(number + 1)
    """

    def __init__(self, total: int, items: str) -> None:
        self._total, self._items = total, items
        self._shown = sys.stderr is not None and sys.stderr.isatty() and total > 1
        self._next_at = 0.0

    def show(self, done: int) -> None:
        """Show that ``done`` items are done, at most ten times a second."""
        now = time.monotonic()
        if not self._shown or now < self._next_at:
            return
        self._next_at = now + _EVERY_S
        filled = _WIDTH * done // self._total
        bar = "#" * filled + "." * (_WIDTH - filled)
        sys.stderr.write(f"\r[{bar}] {done} of {self._total} {self._items}")
        sys.stderr.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")  # erases the line
            sys.stderr.flush()
