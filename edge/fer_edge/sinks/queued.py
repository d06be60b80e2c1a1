"""Sinks that send events through a bounded queue and a thread, so that a slow output never delays the pipeline."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fer_edge.errors import OutputError
from fer_edge.sinks.base import POLL_S, ManagedSink, Pace, report_lost
from fer_edge.status import SinkStatus
from fer_edge.system.messages import RepeatedFaults, print_message
from fer_edge.system.timing import Backoff
from fer_edge.types import EmotionEvent, FrameResult

FIRST_RETRY_S = 1.0
"""Wait after the first failure, in seconds; each further wait is twice as long."""
_MAX_BATCH = 256
"""Maximum number of events sent at a time."""
_CLOSING_RETRY_S = 0.25
"""Wait between attempts while closing, in seconds."""

Encode = Callable[[EmotionEvent], bytes]


class EventRejectedError(OutputError):
    """The output will never accept this event, but it may accept others."""


class Transport(Protocol):
    """The output behind a queue. Only the queue's thread calls it."""

    def send(self, events: Sequence[bytes]) -> int:
        """Send the first of the encoded ``events`` (one or more), in order.

        Returns:
            The number of events sent (1 or more).

        Raises:
            EventRejectedError: if the output will never accept the first event.
            OutputError: if nothing was sent.
            BrokenPipeError: if the reader has closed the pipe.
        """
        ...

    def close(self) -> None:
        """Release the file or connection."""
        ...


@dataclass(frozen=True, slots=True)
class Batching:
    """When a queue sends and syncs events. By default each is sent at once and not synced.

    Args:
        gather_s: Seconds to wait for more events, while there is room, to send them in one batch.
        sync: Called by the queue's thread to write what was sent to the disk, so that it survives a power failure. May
            raise OutputError. A disk that hangs fills the queue and does not block ``emit``.
        max_sync_delay_s: Maximum seconds between sending an event and the sync; 0 syncs after each batch.
    """

    gather_s: float = 0.0
    sync: Callable[[], None] | None = None
    max_sync_delay_s: float = 0.0


AT_ONCE = Batching()


class QueuedSink(ManagedSink):
    """Queue events for ``transport``, in order.

    Args:
        encode: Returns an event in the form that ``transport`` sends; called when the event is emitted.
        name: Its name in the status and in messages.
        max_queued: Maximum number of queued events, not counting the batch being sent (up to 256).
        pace: If live, ``emit`` never waits: when the queue is full, the oldest event is dropped and counted. Otherwise
            ``emit`` waits for room, and nothing is lost.
        max_retry_s: If given, a failure is an outage: the batch is sent again after 1 s, then after twice as long each
            time, up to this many seconds. A closed pipe is an outage, too. If None, a failure ends the sink: the next
            ``emit``, ``record`` or ``close`` raises it.
        batching: When events are sent and synced.
    """

    def __init__(
        self,
        transport: Transport,
        encode: Encode,
        name: str,
        *,
        max_queued: int,
        pace: Pace,
        max_retry_s: float | None = None,
        batching: Batching = AT_ONCE,
    ) -> None:
        self._transport, self._encode, self._name = transport, encode, name
        self._max_queued, self._pace, self._max_retry_s = max_queued, pace, max_retry_s
        self._batching = batching
        # Used by the queue's thread only.
        self._sync_by: float | None = None
        self._sync_failed = False
        self._faults = RepeatedFaults()
        self._changed = threading.Condition()
        self._waiting: deque[bytes] = deque()
        self._sending = 0
        self._oldest_at = 0.0
        self._sent = self._dropped = 0
        self._problem: str | None = None
        self._failure: Exception | None = None
        self._failure_raised = False
        self._backoff = None if max_retry_s is None else Backoff(FIRST_RETRY_S, max_retry_s)
        self._closing_until: float | None = None
        self._closed = False
        self._thread = threading.Thread(target=self._run, name=f"sink {name}", daemon=True)
        self._thread.start()

    def emit(self, event: EmotionEvent) -> None:
        """Queue ``event``. Raises the error that ended the sink, if any."""
        item = self._encode(event)
        with self._changed:
            while len(self._waiting) >= self._max_queued and self._works() and self._pace.waits():
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

    def record(self, result: FrameResult) -> None:
        """Raise the error that ended the sink, if any."""
        if self._failure is not None:
            with self._changed:
                self._raise_failure()

    def status(self) -> SinkStatus:
        """Return the current problem and the number of events sent, waiting and dropped."""
        with self._changed:
            waiting = len(self._waiting) + self._sending
            return SinkStatus(self._name, self._problem is None, self._problem, self._sent, waiting, self._dropped)

    def start_closing(self) -> None:
        """Accept no more events; send those queued."""
        with self._changed:
            if self._closing_until is None:
                self._closing_until = time.monotonic() + self._pace.drain_s
                self._changed.notify_all()

    def close(self) -> None:
        """Send the queued events and stop. Idempotent.

        Waits at most ``pace.drain_s`` seconds; if not live, as long as any event is sent within that time. Events lost
        after that are reported.

        Raises:
            OutputError: if events were lost and the pace is not live, or the transport is stuck.
        """
        self.start_closing()
        assert self._closing_until is not None
        while self._thread.is_alive() and (left := self._closing_until + _CLOSING_RETRY_S - time.monotonic()) > 0:
            self._thread.join(left)
        with self._changed:
            if self._closed:
                return
            self._closed = True
            lost = len(self._waiting) + self._sending
            self._dropped += lost
            self._waiting.clear()
            self._sending = 0
            if self._failure is not None:
                if not self._failure_raised:
                    self._raise_failure()
                return
            stuck = self._thread.is_alive() and self._max_retry_s is None
            problem = self._problem or "blocked (a pipe that nothing reads?)"
        if lost:
            problem = problem if problem.startswith(self._name) else f"{self._name}: {problem}"
            report_lost(problem, lost, "event", fail=stuck or not self._pace.live)

    def _works(self) -> bool:
        return self._failure is None and self._closing_until is None

    def _raise_failure(self) -> None:
        if self._failure is not None:
            self._failure_raised = True
            raise self._failure

    def _drop_oldest(self) -> None:
        while len(self._waiting) > self._max_queued and not self._pace.waits():
            self._waiting.popleft()
            self._dropped += 1

    def _run(self) -> None:
        try:
            while (batch := self._next_batch()) is not None:
                if batch:
                    self._send(batch)
                else:
                    self._run_sync()
            self._transport.close()
        except Exception as error:  # noqa: BLE001 - raised by the next ``emit``, ``record`` or ``close``
            with self._changed:
                self._failure, self._problem = error, str(error)
                self._changed.notify_all()

    def _send(self, batch: list[bytes]) -> None:
        try:
            self._succeeded(batch, self._transport.send(batch))
        except EventRejectedError as error:
            with self._changed:
                self._dropped += 1
                self._put_back(batch[1:])
            self._report(error)
        except (BrokenPipeError, OutputError) as error:
            if self._backoff is None:
                raise
            with self._changed:
                self._put_back(batch)
            closed = OutputError(f"{self._name}: its reader has closed it")
            self._report(error if isinstance(error, OutputError) else closed)
            self._pause(self._backoff.take())

    def _next_batch(self) -> list[bytes] | None:
        """Wait for the next events to send. Return an empty list if a sync is due, None at the end."""
        with self._changed:
            while self._closing_until is None and not self._batch_is_due() and not self._sync_is_due():
                deadlines = [] if self._sync_by is None else [self._sync_by]
                if self._waiting and self._batching.gather_s:
                    deadlines.append(self._oldest_at + self._batching.gather_s)
                self._changed.wait(max(0.0, min(deadlines) - time.monotonic()) if deadlines else None)
            if self._closing_until is not None and time.monotonic() > self._closing_until:
                return None
            if self._sync_is_due():
                return []
            if not self._waiting:
                return None
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), _MAX_BATCH))]
            self._sending = len(batch)
            self._changed.notify_all()
            return batch

    def _batch_is_due(self) -> bool:
        """Return whether events have waited for ``gather_s``, or the queue is half full."""
        half_full = 2 * len(self._waiting) >= min(self._max_queued, 2 * _MAX_BATCH)
        return bool(self._waiting) and (half_full or time.monotonic() >= self._oldest_at + self._batching.gather_s)

    def _sync_is_due(self) -> bool:
        if self._sync_by is None:
            return False
        last = self._closing_until is not None and not self._waiting
        return last or time.monotonic() >= self._sync_by

    def _run_sync(self) -> None:
        """Sync what was sent. A failure is reported once, and ends with the next sync that succeeds."""
        assert self._batching.sync is not None, "nothing to sync with"
        self._sync_by = None  # a retry would not write what the disk has refused
        try:
            self._batching.sync()
        except OutputError as error:
            if self._backoff is None:
                raise
            self._sync_failed = True
            self._report(error)
            return
        self._sync_failed = False
        with self._changed:
            outage = bool(self._waiting)  # writing the waiting events will show whether the outage is over
        if not outage:
            self._succeeded([], 0)

    def _succeeded(self, batch: list[bytes], count: int) -> None:
        if batch and self._batching.sync is not None and self._sync_by is None:
            self._sync_by = time.monotonic() + self._batching.max_sync_delay_s
        with self._changed:
            if self._closed:  # ``close`` has given up and counted these events as lost
                return
            recovered = self._problem is not None and not self._sync_failed
            if recovered:
                self._problem = None
            if self._backoff is not None:
                self._backoff.reset()
            self._sent += count
            self._put_back(batch[count:])
            if self._closing_until is not None and not self._pace.live:
                self._closing_until = time.monotonic() + self._pace.drain_s
            dropped = self._dropped
        if recovered and self._faults.ended():
            print_message(f"{self._name}: works again" + (f"; {dropped} events dropped so far" if dropped else ""))

    def _put_back(self, items: list[bytes]) -> None:
        self._sending = 0
        if not self._closed:
            self._waiting.extendleft(reversed(items))
            self._drop_oldest()

    def _report(self, error: OutputError) -> None:
        """Report ``error``, unless it is one of many."""
        with self._changed:
            self._problem = str(error)
        message = self._faults.add(str(error), time.monotonic())
        if message is not None:
            print_message(message)

    def _pause(self, seconds: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._closing_until is not None, seconds)
            if self._closing_until is not None:
                self._changed.wait(_CLOSING_RETRY_S)


class DirectSink(ManagedSink):
    """Send each event to ``transport`` while the caller waits; for files that are processed as fast as possible."""

    def __init__(self, transport: Transport, encode: Encode, name: str) -> None:
        self._transport, self._encode, self._name = transport, encode, name
        self._sent = 0

    def emit(self, event: EmotionEvent) -> None:
        """Send ``event``. Raises OutputError; BrokenPipeError if the reader has closed the pipe."""
        self._transport.send([self._encode(event)])
        self._sent += 1

    def status(self) -> SinkStatus:
        """Return the number of events sent. A failure ends the run, so the problem is always None."""
        return SinkStatus(self._name, sent=self._sent)

    def close(self) -> None:
        """Close the transport."""
        self._transport.close()
