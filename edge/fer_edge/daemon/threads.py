"""The running program: its signals, and the threads of its supervisors."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Sequence
from types import FrameType, TracebackType
from typing import Self

from fer_edge.daemon.supervisor import Supervisor
from fer_edge.errors import InputError, SourceLostError

_POLL_S = 0.2
"""How long a wait for a thread lasts before signals are looked at again."""


class StopRequest:
    """Signals, turned into polite requests while the block runs.

    SIGINT and SIGTERM set ``asked``; a second one ends the program at once. SIGHUP, where ``reloads``, sets
    ``reload_asked``: what reads the settings again clears it.
    """

    def __init__(self, *, reloads: bool = False) -> None:
        self.asked = threading.Event()
        self.interrupted = self.terminated = False
        self.reload_asked = False
        self._numbers = (signal.SIGINT, signal.SIGTERM, *((signal.SIGHUP,) if reloads else ()))
        self._previous: dict[signal.Signals, object] = {}

    def restart(self) -> bool:
        """Take back what was asked so that a new round may begin; False when a signal asked for the end meanwhile."""
        self.asked.clear()
        if self.terminated:  # looked at afterwards: a signal may come between the two
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
        # Whoever asks again means it: Python's own answer to Ctrl-C, and the system's to SIGTERM.
        signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


def run_supervisors(
    supervisors: Sequence[Supervisor], stop: threading.Event, meanwhile: Callable[[], None] = lambda: None
) -> Exception | None:
    """Run each in a thread of its own until all have ended and their sources are closed.

    A source that is lost for good ends its own supervisor alone, and the others go on. Any other failure, such as of
    an output that all share, sets ``stop`` and so ends them all. ``meanwhile`` is called a few times a second, in the
    calling thread. Returns what is worst of all, after everyone still in the picture has been told as left, for the
    caller to raise once the outputs are closed: what was recorded before a camera was lost is worth keeping.
    """
    lost: list[Exception] = []
    failures: list[Exception] = []

    def work(supervisor: Supervisor) -> None:
        try:
            supervisor.run()
        except (InputError, SourceLostError) as error:
            lost.append(error)
        except Exception as error:  # noqa: BLE001 - carried to the main thread, which raises it
            failures.append(error)
            stop.set()

    threads = [
        threading.Thread(target=work, args=(supervisor,), name=f"stream {supervisor.name}", daemon=True)
        for supervisor in supervisors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        while thread.is_alive():
            thread.join(_POLL_S)  # with a timeout, so that signals are handled meanwhile
            meanwhile()
    return next(iter(failures + lost), None)
