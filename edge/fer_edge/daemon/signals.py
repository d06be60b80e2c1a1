"""Signals as requests to the running program."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType
from typing import Self


class StopRequest:
    """A context manager that turns signals into requests.

    SIGINT and SIGTERM set ``asked``; a second one ends the program at once. With ``reloads``, SIGHUP sets
    ``reload_asked``, which the code that reloads the settings clears.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        self.asked = threading.Event()
        self.interrupted = self.terminated = False
        self.reload_asked = False
        self._numbers = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if reloads else ()))
        self._previous: dict[signal.Signals, object] = {}

    def restart(self) -> bool:
        """Clear the request, so that another session can start; return False if a signal came meanwhile."""
        self.asked.clear()
        if self.terminated:  # checked afterwards: a signal may arrive between the two
            self.asked.set()
        return not self.terminated

    def __enter__(self) -> Self:
        for number in self._numbers:
            self._previous[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() itself returned

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload_asked = True
            return
        self.terminated = True
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.asked.set()
        # A second one is not a request: Python's own reaction to Ctrl-C, and the system's to SIGTERM.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)
