"""Opening cameras and streams side by side, so that one that does not answer keeps nobody waiting but itself."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fer_edge.errors import SourceLostError
from fer_edge.protocols import FrameSource
from fer_edge.sources.base import as_lost
from fer_edge.system.driver_threads import DriverThread

_POLL_S = 0.1
"""How long a wait lasts before ``stop`` and the time are looked at again."""
_QUICK_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Unopened:
    """A camera or stream in whose name nothing is wrong. ``open`` may take seconds, and may be tried again.

    It raises SourceLostError when the device or the server does not do its part.
    """

    open: Callable[[], FrameSource]


class Opening:
    """A source on its way: an open one, or one that opens in a thread of its own from now on."""

    def __init__(self, name: str, source: FrameSource | Unopened, limit_s: float = math.inf) -> None:
        """``limit_s`` is how many seconds an ``Unopened`` one may take."""
        self.name = name
        self._unopened = source if isinstance(source, Unopened) else None
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self._busy = self._given_up = False
        self._result: FrameSource | Exception | None = None
        if isinstance(source, Unopened):
            self._begin(source)
        else:
            self._until = math.inf
            self._result = source
            self._settled.set()

    @property
    def settled(self) -> bool:
        """Whether ``wait`` would answer at once."""
        return self._settled.is_set() or time.monotonic() >= self._until

    @property
    def opening(self) -> bool:
        """Whether the call that opens it has not returned."""
        return self._busy

    @property
    def busy(self) -> bool:
        """Whether a driver has not returned from a call, which opens, reads or closes the source."""
        return self._busy or getattr(self._result, "busy", False)

    @property
    def reopens(self) -> bool:
        """Whether it can be opened more than once: a camera or a stream, no file."""
        return self._unopened is not None

    def wait(self, stop: threading.Event) -> FrameSource | None:
        """The source, as soon as it is open; None when ``stop`` is set before. The caller closes it.

        Raises SourceLostError when it cannot be opened, or not in time.
        """
        while not self.settled:
            if stop.is_set():
                return None
            self._settled.wait(_POLL_S)
        with self._lock:
            if self._result is None:
                self._given_up = True
                self._result = SourceLostError(f"{self.name}: cannot be opened: it does not answer")
            if isinstance(self._result, Exception):
                raise self._result
            return self._result

    def again(self) -> None:
        """Open it once more, after ``wait`` failed or what it gave was closed; for what ``reopens``.

        A driver that still hangs in the last attempt is given the time of another one, and no second thread.
        """
        if self._unopened is not None:
            self._begin(self._unopened)

    def close(self) -> None:
        """Close the source, or let go of it as soon as it opens; harmless when called again."""
        with self._lock:
            self._given_up = True
            result = self._result
        if result is not None and not isinstance(result, Exception):
            result.close()

    def _begin(self, unopened: Unopened) -> None:
        with self._lock:
            hangs, self._busy = self._busy, True
            self._given_up, self._result = False, None
            self._settled.clear()
            self._until = time.monotonic() + self._limit_s
        if not hangs:
            DriverThread(target=partial(self._open, unopened), name=f"open {self.name}").start()

    def _open(self, unopened: Unopened) -> None:
        result: FrameSource | Exception
        try:
            result = unopened.open()
        except Exception as error:  # noqa: BLE001 - carried to the thread that waits, which raises it
            result = as_lost(error, self.name)
        with self._lock:
            given_up, self._busy = self._given_up, False
            if not given_up:
                self._result = result
                self._settled.set()
        if given_up and not isinstance(result, Exception):
            result.close()


def first_to_open(
    openings: Sequence[Opening], stop: threading.Event, on_lost: Callable[[SourceLostError], None]
) -> tuple[FrameSource | None, list[Opening]]:
    """Wait for one source to be open: that one, and all ``openings`` that are not lost by then, in their order.

    ``on_lost`` is told of each that is, at once. None is open when all are lost, or ``stop`` is set before.
    """
    left = list(openings)
    while left and not stop.is_set():
        for opening in [opening for opening in left if opening.settled]:
            try:
                return opening.wait(stop), left
            except SourceLostError as error:
                left.remove(opening)
                on_lost(error)
        time.sleep(_QUICK_POLL_S)
    return None, left
