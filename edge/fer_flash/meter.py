"""Progress of long steps: one line that is updated on a terminal, otherwise an occasional plain line."""

from __future__ import annotations

import contextlib
import sys
import time
from collections import deque
from types import TracebackType
from typing import Self

from fer_edge.system.messages import printable

_REFRESH_S = 0.2
_PLAIN_EVERY_S = 30.0
_SPEED_OVER_S = 10.0
_CLEAR = "\r\x1b[K"  # to the line's beginning, and clear to its end (ECMA-48, EL)


class Meter:
    """Count the bytes of one step and print progress on standard error; a context manager.

    Args:
        what: name of the step, at the start of the line.
        total: number of bytes; None if unknown, in which case ``advance`` may pass ``fraction``.
    """

    def __init__(self, what: str, total: int | None) -> None:
        self._what, self._total = printable(what), total
        self.done = 0
        self._fraction: float | None = None
        self._started = time.monotonic()
        self._recent: deque[tuple[float, int]] = deque([(self._started, 0)])
        self._live = sys.stderr.isatty()
        self._printed_at = self._started

    def advance(self, count: int, fraction: float | None = None) -> None:
        """Add ``count`` bytes; ``fraction`` (0 to 1) of the whole is used if the total is unknown."""
        now = time.monotonic()
        self.done += count
        self._fraction = fraction if self._total is None else self.done / max(self._total, 1)
        self._recent.append((now, self.done))
        while len(self._recent) > 2 and now - self._recent[0][0] > _SPEED_OVER_S:
            self._recent.popleft()
        if now - self._printed_at >= (_REFRESH_S if self._live else _PLAIN_EVERY_S):
            self._printed_at = now
            _print(f"{_CLEAR}{self._line(now)}" if self._live else f"{self._line(now)}\n")

    def __enter__(self) -> Self:
        if not self._live:
            _print(f"{self._what}{f': {size(self._total)}' if self._total is not None else ''}\n")
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._live:
            _print(_CLEAR)
        if error is None:
            _print(f"{self._what}: done, {speed(self.done, time.monotonic() - self._started)}\n")

    def _line(self, now: float) -> str:
        at, before = self._recent[0]
        rate = (self.done - before) / max(now - at, 1e-9)
        parts = [self._what]
        if self._fraction is not None:
            parts.append(f"{min(self._fraction, 1.0):4.0%}")
        parts += [size(self.done), f"{rate / 1e6:.1f} MB/s"]
        if self._fraction and rate > 0:
            remaining = self.done / self._fraction - self.done if self._total is None else self._total - self.done
            parts.append(f"{duration(remaining / rate)} left")
        return "  ".join(parts)


def print_line(line: str) -> None:
    """Print ``line`` on standard output and flush it."""
    sys.stdout.write(f"{printable(line)}\n")
    sys.stdout.flush()


def size(count: int) -> str:
    """Format a number of bytes in decimal units, as printed on cards: 1 GB is 10⁹ bytes."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def speed(count: int, seconds: float) -> str:
    """Format the throughput of ``count`` bytes in ``seconds``."""
    return f"{size(count)} in {duration(seconds)} ({count / 1e6 / max(seconds, 1e-9):.1f} MB/s)"


def duration(seconds: float) -> str:
    """Format a time in seconds or minutes."""
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s"


def _print(text: str) -> None:
    with contextlib.suppress(OSError):  # a closed standard error must not stop the write
        sys.stderr.write(text)
        sys.stderr.flush()
