"""Text for the user: messages on standard error, one line each, prefixed with the program's name, and results.

Text from outside (file names, answers of servers, names of devices) is escaped here, where it is printed.
"""

from __future__ import annotations

import contextlib
import logging
import sys
import traceback
from collections.abc import Iterator, Sequence
from typing import TextIO

from fer_edge.system.progress import hidden_progress
from fer_edge.system.stderr import STDERR_LOCK
from fer_edge.system.timing import Backoff

_FIRST_PAUSE_S, _MAX_PAUSE_S = 1.0, 3600.0
_FORGOTTEN_S = 600.0
"""Seconds without a fault after which the next one counts as the first."""

_MAX_HIDDEN_S = 1.0
"""Seconds to wait for stderr. A native call that never returns may keep it hidden; then the line is lost."""


def printable(text: str) -> str:
    r"""Return ``text`` with an escape sequence for each control character, so that a terminal cannot interpret it.

    >>> printable("a\x1b[2J.mp4\n")
    'a\\x1b[2J.mp4\\n'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return a line for each row, in left-aligned columns; cells are escaped as by ``printable``.

    >>> aligned([("device", "online"), ("door", "yes")])
    ['device  online', 'door    yes']
    """
    shown = [[printable(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*shown, strict=True)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in shown]


def print_text(text: str) -> None:
    """Write lines of ``text`` to standard output, escaped as by ``printable``; each ends with a newline."""
    sys.stdout.write("\n".join(printable(line) for line in text.split("\n")))


def print_message(message: str, *, max_wait_s: float = _MAX_HIDDEN_S) -> None:
    """Print ``message`` as one line on standard error, prefixed with ``fer-edge:``.

    While a native library's output is hidden, this waits at most ``max_wait_s`` seconds.
    """
    # OSError: standard error is closed. The exit code still reports the problem.
    with _stderr_shown(max_wait_s), hidden_progress(), contextlib.suppress(OSError):
        sys.stderr.write(f"fer-edge: {printable(' '.join(message.split()))}\n")
        sys.stderr.flush()


def print_traceback() -> None:
    """Print the traceback of the exception that is being handled on standard error."""
    with STDERR_LOCK, contextlib.suppress(OSError):
        sys.stderr.write("".join(f"{printable(line)}\n" for line in traceback.format_exc().splitlines()))


class LogFormatter(logging.Formatter):
    """Format log records with their text escaped; a traceback below it keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 - logging's name
        """Return the first line of the record."""
        return printable(super().formatMessage(record))


class LogHandler(logging.StreamHandler[TextIO]):
    """Write log records to standard error as print_message does: no line is lost while it is hidden."""

    def __init__(self) -> None:
        super().__init__(sys.stderr)
        self.lock = STDERR_LOCK
        self.setFormatter(LogFormatter("%(levelname)s %(name)s: %(message)s"))

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record."""
        with hidden_progress():
            super().emit(record)


class RepeatedFaults:
    """Decide which faults of one output are reported, since each may have another text.

    The first one is. While there are more, one of another text is reported after 1 s, then after twice as long each
    time, with the number of those in between.
    """

    def __init__(self) -> None:
        self._pause = Backoff(_FIRST_PAUSE_S, _MAX_PAUSE_S)
        self._next_at = self._last_at = -_FORGOTTEN_S
        self._said: str | None = None
        self._left_out = 0

    def add(self, fault: str, now: float) -> str | None:
        """Count a fault at the time ``now``, seconds; return the message to print, or None."""
        if now - self._last_at >= _FORGOTTEN_S:
            self._pause.reset()
            self._next_at, self._left_out = now, 0
        self._last_at = now
        if fault == self._said:
            return None
        if now < self._next_at:
            self._left_out += 1
            return None
        faults = "fault" if self._left_out == 1 else "faults"
        more = f" ({self._left_out} more {faults} since the last message)" if self._left_out else ""
        self._said, self._left_out = fault, 0
        self._next_at = now + self._pause.take()
        return fault + more

    def ended(self) -> bool:
        """Note a success; return whether to report it, because the fault was."""
        said, self._said = self._said is not None, None
        return said


@contextlib.contextmanager
def _stderr_shown(max_wait_s: float) -> Iterator[None]:
    held = STDERR_LOCK.acquire(timeout=max_wait_s)
    try:
        yield
    finally:
        if held:
            STDERR_LOCK.release()
