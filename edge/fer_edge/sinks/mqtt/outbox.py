"""The messages that the broker has not acknowledged yet, in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from fer_edge.sinks.base import POLL_S, Pace

WINDOW = 20
"""Maximum number of messages in flight (sent and not yet acknowledged)."""


@dataclass(frozen=True, slots=True)
class Message:
    """A message to publish; the broker keeps it for later subscribers if ``retain`` is true."""

    topic: str
    payload: bytes
    retain: bool = False


class Delivery(Protocol):
    """The delivery of a message, such as paho's ``MQTTMessageInfo``."""

    def is_published(self) -> bool:
        """Return whether the broker has acknowledged the message."""
        ...


class Outbox:
    """A bounded queue of messages that are removed once the broker acknowledges them. Thread-safe.

    paho also has a queue, but a full one rejects the newest message, and after a reconnect it can send new messages
    before older ones. This queue therefore keeps the messages and passes them to paho only while it is connected.

    Args:
        max_queued: Maximum number of messages, not counting those in flight.
        pace: Whether ``put`` drops the oldest message not in flight when the queue is full (live), or waits for room.
        wake: Called after ``put``, without a lock held.
    """

    def __init__(self, max_queued: int, *, pace: Pace, wake: Callable[[], None]) -> None:
        self._max_queued, self._pace, self._wake = max_queued, pace, wake
        self._changed = threading.Condition()
        self._messages: deque[Message] = deque()
        self._in_flight: deque[Delivery] = deque()
        self._connected = self._closed = self._abandoned = False
        self._last_progress = 0.0
        self.sent = self.dropped = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Queue ``message`` until it is acknowledged. After ``close`` it is dropped and counted."""
        with self._changed:
            while len(self._messages) >= self._max_queued and not self._closed and self._pace.waits():
                self._changed.wait(POLL_S)
            if self._closed:
                self.dropped += 1
                return
            self._messages.append(message)
            if len(self._messages) - len(self._in_flight) > self._max_queued and not self._pace.waits():
                del self._messages[len(self._in_flight)]
                self.dropped += 1
        self._wake()

    def connected(self) -> None:
        """Allow ``send_next`` to send."""
        with self._changed:
            self._connected = True

    def disconnected(self) -> None:
        """Stop sending. Messages in flight will be sent again, in the same order, after ``connected``."""
        with self._changed:
            self._connected = False
            self._in_flight.clear()
            while len(self._messages) > self._max_queued and not self._pace.waits():
                self._messages.popleft()
                self.dropped += 1

    def send_next(self, publish: Callable[[Message], Delivery | None]) -> bool:
        """Send the oldest message that is not in flight, if connected and fewer than ``WINDOW`` are in flight.

        Args:
            publish: Sends a message and returns its delivery, or None if not connected. It is called with the
                queue locked, so that messages sent by several threads stay in order; it must not block.

        Returns:
            Whether a message was sent.
        """
        with self._changed:
            count = len(self._in_flight)
            if not self._connected or count >= min(WINDOW, len(self._messages)):
                return False
            delivery = publish(self._messages[count])
            if delivery is None:
                return False
            if count == 0:
                self._last_progress = time.monotonic()
            self._in_flight.append(delivery)
            return True

    def unanswered_s(self) -> float:
        """Return the seconds since the last acknowledgement; 0 if nothing is in flight."""
        with self._changed:
            return time.monotonic() - self._last_progress if self._in_flight else 0.0

    def remove_acknowledged(self) -> None:
        """Remove the messages that the broker has acknowledged."""
        with self._changed:
            while self._in_flight and self._in_flight[0].is_published():
                self._in_flight.popleft()
                self._messages.popleft()
                self.sent += 1
                self._last_progress = time.monotonic()
            self._changed.notify_all()

    def close(self) -> None:
        """Accept no more messages."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """End ``wait_until_sent`` now, because the broker cannot be reached."""
        with self._changed:
            self._abandoned = True
            self._changed.notify_all()

    def wait_until_sent(self, timeout_s: float) -> bool:
        """Wait until all messages are acknowledged. Return False if they are not after ``timeout_s`` seconds."""
        with self._changed:
            return self._changed.wait_for(lambda: not self._messages or self._abandoned, timeout_s)

    def clear(self) -> int:
        """Drop and count the remaining messages, and return their number."""
        with self._changed:
            lost = len(self._messages)
            self.dropped += lost
            self._messages.clear()
            self._in_flight.clear()
            return lost
