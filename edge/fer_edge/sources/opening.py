"""Open cameras, streams and films in threads, so that one that does not respond delays neither others nor a signal."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from fer_edge.errors import InputError, SourceLostError
from fer_edge.protocols import FrameSource
from fer_edge.sources.base import as_source_error
from fer_edge.system.driver_threads import DriverThread

_POLL_S = 0.1
"""Interval at which a wait checks ``stop`` and the deadline."""
_QUICK_POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Unopened:
    """A source whose URI is valid but that is not open. ``open`` may take seconds.

    ``open`` raises SourceLostError if the device or server does not respond correctly, InputError if a film is not
    readable. A camera or stream ``reopens``: it may be opened more than once; a film may not.
    """

    open: Callable[[], FrameSource]
    reopens: bool = True


class Opening:
    """A source that is open, or is being opened in its own thread."""

    def __init__(self, name: str, source: FrameSource | Unopened, limit_s: float = math.inf) -> None:
        """Start to open ``source`` if it is an ``Unopened``, within ``limit_s`` seconds."""
        self.name = name
        self._unopened = source if isinstance(source, Unopened) else None
        self._limit_s = limit_s
        self._lock = threading.Lock()
        self._settled = threading.Event()
        self._settled.set()
        self._until = math.inf
        self._busy = self._given_up = False
        self._result: FrameSource | Exception | None = None if isinstance(source, Unopened) else source
        self.again()

    @property
    def settled(self) -> bool:
        """Whether ``wait`` would return or raise immediately."""
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
        """Whether the source can be opened more than once: a camera or a stream, but not a file."""
        return self._unopened is not None and self._unopened.reopens

    def wait(self, stop: threading.Event) -> FrameSource | None:
        """Return the source once it is open, or None if ``stop`` is set first. The caller closes the source.

        Raises:
            InputError: if it is a film that cannot be opened, or not within the time limit.
            SourceLostError: if it is a camera or stream that cannot be opened, or not within the time limit.
        """
        while not self.settled:
            if stop.is_set():
                return None
            self._settled.wait(_POLL_S)
        with self._lock:
            if self._result is None:
                self._given_up = True
                self._result = self._too_slow()
            if isinstance(self._result, Exception):
                raise self._result
            return self._result

    def _too_slow(self) -> InputError | SourceLostError:
        if self.reopens:
            return SourceLostError(f"{self.name}: cannot be opened: it does not answer")
        return InputError(f"{self.name}: cannot be opened within {self._limit_s:.0f} s; is it a playlist without end?")

    def again(self) -> None:
        """Start an attempt to open the source, after ``wait`` failed or the source was closed.

        If the previous attempt still blocks in the driver, it gets the time of another attempt; no second thread is
        started.
        """
        if self._unopened is None:
            return
        with self._lock:
            hangs, self._busy = self._busy, True
            self._given_up, self._result = False, None
            self._settled.clear()
            self._until = time.monotonic() + self._limit_s
        if not hangs:
            DriverThread(target=partial(self._open, self._unopened), name=f"open {self.name}").start()

    def close(self) -> None:
        """Close the source, or have it closed as soon as it opens. Idempotent."""
        with self._lock:
            self._given_up = True
            result = self._result
        if result is not None and not isinstance(result, Exception):
            result.close()

    def _open(self, unopened: Unopened) -> None:
        result: FrameSource | Exception
        try:
            result = unopened.open()
        except Exception as error:  # noqa: BLE001 - passed to the waiting thread, which raises it
            result = as_source_error(error, self.name)
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
    """Wait until one source is open; return it with those of ``openings`` that have not failed, in their order.

    ``on_lost(error)`` is called at once for each that fails. The first value is None if all failed, or if ``stop`` was
    set first.
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
