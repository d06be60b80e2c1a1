"""A progress bar on the terminal, which other lines do not garble."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING, NoReturn

from fer_edge.system.closing import Closing
from fer_edge.system.stderr import STDERR_LOCK

if TYPE_CHECKING:
    from tqdm import tqdm

_MAX_COLUMNS = 78
_FREE_COLUMNS = 4
"""Columns to the right of the bar, so that the terminal's ``^C`` does not begin another line."""
_MAX_WAIT_S = 1.0
"""Seconds to wait for stderr, which is hidden while native code runs, perhaps indefinitely."""
_shown: list[tqdm[NoReturn]] = []
"""The bar on the terminal, if there is one."""


class Progress(Closing):
    """Show how many items are done on standard error, if that is a terminal. ``close`` removes the bar.

    Args:
        total: Number of items, None if it is not known. No bar is shown for a single one.
        items: What is counted, such as ``frames``.

    >>> with Progress(2, "images") as progress:
    ...     for number in range(2):
    ...         progress.show(number + 1)
    """

    def __init__(self, total: int | None, items: str) -> None:
        self._total, self._items = total, items
        self._wanted = sys.stderr is not None and sys.stderr.isatty() and total != 1
        self._bar: tqdm[NoReturn] | None = None

    def show(self, done: int) -> None:
        """Show that ``done`` items are done. Does nothing while standard error is hidden."""
        if not self._wanted or not STDERR_LOCK.acquire(blocking=False):
            return
        try:
            if self._bar is None:
                self._bar = self._open()
            self._bar.update(done - self._bar.n)
        except OSError:  # the terminal is gone
            self._wanted = False
        finally:
            STDERR_LOCK.release()

    def close(self) -> None:
        """Remove the bar. Idempotent."""
        self._wanted = False
        bar, self._bar = self._bar, None
        if bar is None or not STDERR_LOCK.acquire(timeout=_MAX_WAIT_S):
            return
        try:
            _shown.remove(bar)
            with contextlib.suppress(OSError):
                bar.close()
                _erase_line()
        finally:
            STDERR_LOCK.release()

    def _open(self) -> tqdm[NoReturn]:
        from tqdm import tqdm  # only where there is a terminal: a service never loads it

        tqdm.monitor_interval = 0  # no thread
        tqdm.set_lock(STDERR_LOCK)
        bar: tqdm[NoReturn] = tqdm(
            total=self._total,
            unit=f" {self._items}",
            leave=False,
            miniters=1,
            ncols=_columns(),
            nrows=2,  # a serial console may report no size, and tqdm would hide the bar
            file=sys.stderr,
        )
        _shown.append(bar)
        return bar


@contextlib.contextmanager
def hidden_progress() -> Iterator[None]:
    """Remove the bar, if there is one, during the block, which writes a line to the terminal."""
    if not _shown or not STDERR_LOCK.acquire(timeout=_MAX_WAIT_S):
        yield
        return
    try:
        with contextlib.suppress(OSError):  # the terminal is gone
            for bar in _shown:
                bar.clear()
                _erase_line()
        yield
        with contextlib.suppress(OSError):
            for bar in _shown:
                bar.refresh()
    finally:
        STDERR_LOCK.release()


def _erase_line() -> None:
    """Erase what tqdm leaves to the right of its bar, such as ``^C``."""
    sys.stderr.write("\x1b[K")  # ECMA-48, EL
    sys.stderr.flush()


def _columns() -> int:
    columns = 0
    with contextlib.suppress(OSError, ValueError):
        columns = os.get_terminal_size(sys.stderr.fileno()).columns
    return min((columns or _MAX_COLUMNS) - _FREE_COLUMNS, _MAX_COLUMNS)
