"""What all sinks share: base class, numbers of events, whether a full sink blocks, and the report of lost events."""

from __future__ import annotations

import itertools
import os
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import replace

from fer_edge.errors import OutputError
from fer_edge.protocols import ClosingSink
from fer_edge.system.messages import print_message
from fer_edge.system.timing import StopEvent
from fer_edge.types import EmotionEvent, FrameResult

POLL_S = 0.2
"""Interval in seconds at which a blocked caller checks whether to keep waiting."""
DRAIN_S = 5.0
"""Time in seconds for sending what is queued, once a sink is being closed."""

SESSION = os.urandom(8).hex()
"""Identifies this process among all runs of all devices. Random: a device's clock may be wrong after a start."""

_RESERVE_S = 1.5
"""Seconds that remain after the drain for saying goodbye to a broker, and for writing the other files."""
_numbers = itertools.count(1)
"""Of the process and not of a group of sinks, because a reload opens new sinks in the same session."""


class ManagedSink(ClosingSink, ABC):
    """A sink of the daemon: an ``EventSink`` that may work in the background."""

    @abstractmethod
    def emit(self, event: EmotionEvent) -> None:
        """Pass ``event`` on. Raises OutputError, or the error that ended the sink."""

    def record(self, result: FrameResult) -> None:
        """Note that a frame was processed, with events or without. Raises the error that ended the sink, if any."""

    def start_closing(self) -> None:
        """Accept no more events and finish in the background; ``close`` waits for it."""


class Pace:
    """How a sink treats a caller when it is full, and how long closing takes.

    Args:
        live: If true, nothing waits. Otherwise the caller waits for room until ``drain_s`` seconds after ``stop`` is
            set.
    """

    def __init__(self, *, live: bool, stop: threading.Event | None = None, drain_s: float = DRAIN_S) -> None:
        self.live = live
        self._drain_s, self._stop = drain_s, stop
        self._stopped_at: float | None = None

    @property
    def drain_s(self) -> float:
        """Seconds for sending what is queued while closing; less if the process has to end sooner."""
        if not isinstance(self._stop, StopEvent):
            return self._drain_s
        return min(self._drain_s, max(0.0, self._stop.left_s - _RESERVE_S))

    def waits(self) -> bool:
        """Return whether to wait for room rather than drop the oldest event."""
        if self.live or self._stop is None or not self._stop.is_set():
            return not self.live
        if self._stopped_at is None:
            self._stopped_at = time.monotonic()
        return time.monotonic() < self._stopped_at + self.drain_s


def numbered(event: EmotionEvent) -> EmotionEvent:
    """Return ``event`` with the session and the next number: a receiver finds events that are lost or arrive twice.

    >>> from fer_edge.types import EventKind
    >>> first, second = (numbered(EmotionEvent(EventKind.HEARTBEAT, "cam0", 1.7e9, 0.0)) for _ in range(2))
    >>> first.session == second.session, second.sequence - first.sequence
    (True, 1)
    """
    return replace(event, session=SESSION, sequence=next(_numbers))


def report_lost(problem: str, count: int, item: str, *, fail: bool) -> None:
    """Report that ``count`` items (events or messages) were lost: raise OutputError if ``fail`` is true, else print."""
    message = f"{problem}; {count} {item}{'s were' if count > 1 else ' was'} lost"
    if fail:
        raise OutputError(message)
    print_message(message)
