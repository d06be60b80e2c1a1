"""Signals as requests to the running program, and its end if a native call prevents an orderly one."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Self

from fer_edge.system.messages import print_message
from fer_edge.system.timing import StopEvent

MAX_STOP_S = 5.0
"""Seconds after SIGTERM or Ctrl-C within which the process ends, whatever hangs."""
_MARGIN_S = 0.4
"""The forced end starts this much earlier: the machine may be busy, and its message may have to wait."""
_LEFT = b"\0"


class StopRequest:
    """A context manager that turns signals into requests.

    SIGINT and SIGTERM set ``asked``; a second one ends the program at once. With ``reloads``, SIGHUP sets
    ``reload_asked``, which the code that reloads the settings clears.

    ``MAX_STOP_S`` seconds after SIGINT or SIGTERM the process ends even if the block has not been left, because the
    main thread or a driver is inside a native call that does not return.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        self.asked = StopEvent()
        self.interrupted = self.terminated = False
        self.reload_asked = False
        self._numbers = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if reloads else ()))
        self._previous: dict[signal.Signals, object] = {}
        self._left = threading.Event()
        self._wakeup: int | None = None
        self._wakeup_before = -1

    def reload(self) -> None:
        """Ask for a reload, as SIGHUP does."""
        self.reload_asked = True

    def restart(self) -> bool:
        """Clear the request, so that another session can start; return False if a signal came in between."""
        self.asked.clear()
        if self.terminated:  # checked afterwards: a signal may arrive between the two
            self.asked.set()
        return not self.terminated

    def __enter__(self) -> Self:
        for number in self._numbers:
            self._previous[number] = signal.signal(number, self._handle)
        with suppress(OSError):  # no free file descriptor: then only an orderly end is possible
            reader, self._wakeup = os.pipe()
            os.set_blocking(self._wakeup, False)
            self._wakeup_before = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
            threading.Thread(target=self._watch, args=(reader,), name="signals", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._left.set()
        if self._wakeup is not None:
            signal.set_wakeup_fd(self._wakeup_before)
            with suppress(OSError):  # full of signals, which end the thread as well
                os.write(self._wakeup, _LEFT)
            os.close(self._wakeup)
            self._wakeup = None
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal() itself returned

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if number == signal.SIGHUP:
            self.reload_asked = True
            return
        self.terminated = True
        self.interrupted = self.interrupted or number == signal.SIGINT
        self.asked.ends_at = min(self.asked.ends_at, time.monotonic() + MAX_STOP_S - _MARGIN_S)
        self.asked.set()
        # A second one is not a request: Python's own reaction to Ctrl-C, and the system's to SIGTERM.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)

    def _watch(self, reader: int) -> None:
        """Wait for a signal, and end the process if the block is not left in time.

        The interpreter's C handler writes each signal's number to the pipe, while ``_handle`` runs only once the main
        thread is back in Python.
        """
        try:
            while (received := os.read(reader, 1)) not in (b"", _LEFT):
                if received[0] in (signal.SIGINT, signal.SIGTERM):
                    if not self._left.wait(MAX_STOP_S - _MARGIN_S):
                        said = f"ended {MAX_STOP_S:.0f} s after the signal: a native call does not return"
                        print_message(said, max_wait_s=_MARGIN_S / 2)
                        os._exit(128 + received[0])
                    return
        finally:
            os.close(reader)
