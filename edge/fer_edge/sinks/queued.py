"""A queue of its own before an output, and a thread that empties it: a slow output never slows the pipeline."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from fer_edge.errors import OutputError
from fer_edge.protocols import ClosingSink
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.base import ManagedSink, ProcessedFrame
from fer_edge.sinks.pace import POLL_S, Pace
from fer_edge.status import SinkStatus, StatusBoard
from fer_edge.system.backoff import Backoff
from fer_edge.system.one_line import say
from fer_edge.types import EmotionEvent

FIRST_RETRY_S = 1.0
"""Wait after a first failure; each next one is twice as long."""
_MOST_AT_ONCE = 256
"""Events that are handed on together at most."""
_LAST_RETRY_S = 0.25
"""Wait between attempts while closing, when there is little time left."""

Item = TypeVar("Item")


class NotTakenError(OutputError):
    """This one event will never be taken; the next one may be."""


class Carrier(Protocol[Item]):
    """What a queue empties itself into; called by the queue's thread alone, but for ``encode``."""

    def encode(self, event: EmotionEvent) -> Item:
        """``event`` in the form in which it is held; called when it is made."""
        ...

    def carry(self, items: Sequence[Item]) -> int:
        """Pass on the first of ``items``, which are one or more, in order; returns how many were, at least one.

        Raises OutputError when none was; NotTakenError when the first never will be.
        """
        ...

    def close(self) -> None:
        """Let go of the file or connection."""
        ...


@dataclass(frozen=True, slots=True)
class Sync:
    """``carry_out`` makes what a carrier took outlive a power failure, or raises OutputError.

    The queue's thread calls it at most ``max_delay_s`` seconds after the carrier took something, 0 being at once.
    """

    carry_out: Callable[[], None]
    max_delay_s: float


class QueuedSink(ClosingSink, Generic[Item]):
    """Holds at most ``hold`` events, and those being handed on (256 at most), for ``carrier``; their order is kept.

    For a live ``pace``, ``emit`` never waits; when full, the oldest event is dropped and counted. Otherwise it waits
    for room, and nothing is lost.

    With ``retry_most_s`` a failure is an outage: what is held is tried again after 1 s, then after twice as long each
    time, up to that many seconds; so is a reader that has gone. Without it, it ends the sink: the next ``emit``,
    ``record`` or ``close`` raises it. ``gather_s`` is how long events wait for others to be handed on together, while
    there is room. ``sync`` is carried out by the queue's thread too, so that a disk that does not answer fills the
    queue and does not make ``emit`` wait.
    """

    def __init__(
        self,
        carrier: Carrier[Item],
        name: str,
        *,
        hold: int,
        pace: Pace,
        retry_most_s: float | None = None,
        gather_s: float = 0.0,
        sync: Sync | None = None,
    ) -> None:
        self._carrier, self._name = carrier, name
        self._hold, self._pace, self._retry_most_s = hold, pace, retry_most_s
        self._gather_s, self._sync = gather_s, sync
        # Of the queue's thread alone.
        self._sync_by: float | None = None
        self._sync_failed = False
        self._changed = threading.Condition()
        self._waiting: deque[Item] = deque()
        self._in_hand = 0
        self._oldest_at = 0.0
        self._sent = self._dropped = 0
        self._problem: str | None = None
        self._failure: Exception | None = None
        self._failure_told = False
        self._backoff = None if retry_most_s is None else Backoff(FIRST_RETRY_S, retry_most_s)
        self._closing_until: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def emit(self, event: EmotionEvent) -> None:
        """Hold ``event`` until it can be passed on. Raises what ended the sink."""
        item = self._carrier.encode(event)
        with self._changed:
            while len(self._waiting) >= self._hold and self._works() and self._pace.waits():
                self._changed.wait(POLL_S)
            self._raise_failure()
            if self._closing_until is not None:
                self._dropped += 1
                return
            if not self._waiting:
                self._oldest_at = time.monotonic()
            self._waiting.append(item)
            self._drop_oldest()
            self._changed.notify_all()

    def record(self, result: ProcessedFrame) -> None:
        """Raises what ended the sink, if anything did."""
        if self._failure is not None:
            with self._changed:
                self._raise_failure()

    def status(self) -> SinkStatus:
        """How it is now."""
        with self._changed:
            waiting = len(self._waiting) + self._in_hand
            return SinkStatus(self._name, self._problem is None, self._problem, self._sent, waiting, self._dropped)

    def start_closing(self) -> None:
        """Take nothing more, and pass on what is held."""
        with self._changed:
            if self._closing_until is None:
                self._closing_until = time.monotonic() + self._pace.drain_s
                self._changed.notify_all()

    def close(self) -> None:
        """Pass on what is held, for the pace's ``drain_s`` at most; not live, for as long as something is taken
        every ``drain_s``.

        What is lost then is told; not live, OutputError is raised. Raises what ended the sink.
        """
        self.start_closing()
        assert self._closing_until is not None
        while self._thread.is_alive() and (left := self._closing_until + _LAST_RETRY_S - time.monotonic()) > 0:
            self._thread.join(left)
        with self._changed:
            if self._closed:
                return
            self._closed = True
            lost = len(self._waiting) + self._in_hand
            self._dropped += lost
            self._waiting.clear()
            self._in_hand = 0
            if self._failure is not None:
                self._raise_failure(again=False)
                return
            stuck = self._thread.is_alive() and self._retry_most_s is None
            outlived = self._pace.live and not stuck
            problem = self._problem or "takes nothing more, as a pipe that nobody reads: given up"
        if lost:
            message = f"{problem}; {lost} event{'s were' if lost > 1 else ' was'} not passed on"
            message = message if message.startswith(self._name) else f"{self._name}: {message}"
            if not outlived:
                raise OutputError(message)
            say(message)

    def _works(self) -> bool:
        return self._failure is None and self._closing_until is None

    def _raise_failure(self, *, again: bool = True) -> None:
        if self._failure is not None and (again or not self._failure_told):
            self._failure_told = True
            raise self._failure

    def _drop_oldest(self) -> None:
        while len(self._waiting) > self._hold and not self._pace.waits():
            self._waiting.popleft()
            self._dropped += 1

    def _run(self) -> None:
        try:
            while (hand := self._take()) is not None:
                if not hand:
                    self._carry_out_sync()
                    continue
                try:
                    self._carried(hand, self._carrier.carry(hand))
                except NotTakenError as error:
                    self._refused(hand, error)
                except (BrokenPipeError, OutputError) as error:
                    if self._backoff is None:
                        raise
                    no_reader = OutputError(f"{self._name}: nobody reads it any more")
                    self._kept(hand, error if isinstance(error, OutputError) else no_reader)
                    self._pause(self._backoff.take())
            self._carrier.close()
        except Exception as error:  # noqa: BLE001 - carried to whoever emits next, or closes
            with self._changed:
                self._failure, self._problem = error, str(error)
                self._changed.notify_all()

    def _take(self) -> list[Item] | None:
        """What is to be handed on next; empty where it is time to sync, None at the end."""
        with self._changed:
            while self._closing_until is None and not self._worth_handing_on() and not self._sync_is_due():
                deadlines = [] if self._sync_by is None else [self._sync_by]
                if self._waiting and self._gather_s:
                    deadlines.append(self._oldest_at + self._gather_s)
                self._changed.wait(max(0.0, min(deadlines) - time.monotonic()) if deadlines else None)
            if self._closing_until is not None and time.monotonic() > self._closing_until:
                return None
            if self._sync_is_due():
                return []
            if not self._waiting:
                return None
            hand = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MOST_AT_ONCE))]
            self._in_hand = len(hand)
            self._changed.notify_all()
            return hand

    def _worth_handing_on(self) -> bool:
        """Nothing waits longer than asked, nor until it must be dropped for lack of room."""
        full = 2 * len(self._waiting) >= min(self._hold, 2 * _MOST_AT_ONCE)
        return bool(self._waiting) and (full or time.monotonic() >= self._oldest_at + self._gather_s)

    def _sync_is_due(self) -> bool:
        if self._sync_by is None:
            return False
        at_the_end = self._closing_until is not None and not self._waiting
        return at_the_end or time.monotonic() >= self._sync_by

    def _carry_out_sync(self) -> None:
        """Sync what was handed on. A failure is reported once, and over when a sync succeeds."""
        assert self._sync is not None, "nothing to sync with"
        self._sync_by = None  # what a disk refused once is not written by asking again
        try:
            self._sync.carry_out()
        except OutputError as error:
            if self._backoff is None:
                raise
            self._sync_failed = True
            self._tell(error)
            return
        self._sync_failed = False
        with self._changed:
            outage = bool(self._waiting)  # of what is still to be written
        if not outage:
            self._carried([], 0)

    def _carried(self, hand: list[Item], count: int) -> None:
        if hand and self._sync is not None and self._sync_by is None:
            self._sync_by = time.monotonic() + self._sync.max_delay_s
        with self._changed:
            if self._closed:  # given up meanwhile, and told as lost
                return
            again = self._problem is not None and not self._sync_failed
            if again:
                self._problem = None
            if self._backoff is not None:
                self._backoff.reset()
            self._sent += count
            self._put_back(hand[count:])
            if self._closing_until is not None and not self._pace.live:
                self._closing_until = time.monotonic() + self._pace.drain_s
            dropped = self._dropped
        if again:
            say(f"{self._name}: works again" + (f"; {dropped} events dropped so far" if dropped else ""))

    def _refused(self, hand: list[Item], error: NotTakenError) -> None:
        with self._changed:
            self._dropped += 1
            self._put_back(hand[1:])
        self._tell(error)

    def _kept(self, hand: list[Item], error: OutputError) -> None:
        with self._changed:
            self._put_back(hand)
        self._tell(error)

    def _put_back(self, items: list[Item]) -> None:
        self._in_hand = 0
        if not self._closed:
            self._waiting.extendleft(reversed(items))
            self._drop_oldest()

    def _tell(self, error: OutputError) -> None:
        """Once for each kind of trouble, not for each attempt."""
        with self._changed:
            new, self._problem = self._problem != str(error), str(error)
        if new:
            say(str(error))

    def _pause(self, seconds: float) -> None:
        with self._changed:
            until = time.monotonic() + seconds
            while self._closing_until is None and (left := until - time.monotonic()) > 0:
                self._changed.wait(left)
            if self._closing_until is not None:
                self._changed.wait(_LAST_RETRY_S)


class DirectSink(ClosingSink, Generic[Item]):
    """Hands each event to ``carrier`` at once, while the caller waits: for files, which have time."""

    def __init__(self, carrier: Carrier[Item], name: str) -> None:
        self._carrier, self._name = carrier, name
        self._sent = 0

    def emit(self, event: EmotionEvent) -> None:
        """Pass ``event`` on. Raises OutputError; BrokenPipeError when the reader has gone."""
        self._carrier.carry([self._carrier.encode(event)])
        self._sent += 1

    def record(self, result: ProcessedFrame) -> None:
        """Nothing happens between events."""

    def status(self) -> SinkStatus:
        """How it is now: a failure ends the run, so that there is none to tell of."""
        return SinkStatus(self._name, sent=self._sent)

    def start_closing(self) -> None:
        """Nothing is held."""

    def close(self) -> None:
        """Let go of the file."""
        self._carrier.close()


def managed(
    carrier: Carrier[Item],
    name: str,
    settings: RuntimeSettings,
    board: StatusBoard,
    *,
    pace: Pace,
    gather_s: float = 0.0,
    sync: Sync | None = None,
) -> ManagedSink:
    """``carrier`` as it suits what is watched, told to ``board`` as ``name``.

    A camera gets a queue; with ``recovery.reconnect`` its failures are outages. Files wait for what they write.
    """
    sink: QueuedSink[Item] | DirectSink[Item]
    if pace.live or gather_s or sync is not None:
        retry_most_s = settings.recovery.retry_most_s if settings.recovery.reconnect else None
        hold = settings.output.hold
        sink = QueuedSink(carrier, name, hold=hold, pace=pace, retry_most_s=retry_most_s, gather_s=gather_s, sync=sync)
    else:
        sink = DirectSink(carrier, name)
    board.watch_sink(sink.status)
    return sink
