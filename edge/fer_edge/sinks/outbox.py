"""Messages that a broker has not acknowledged yet, in order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from fer_edge.sinks.pace import POLL_S, Pace

WINDOW = 20
"""Messages that may be on their way at a time."""


@dataclass(frozen=True, slots=True)
class Message:
    """What is published: ``topic``, ``payload``, and whether the broker keeps it for those who come later."""

    topic: str
    payload: bytes
    retain: bool = False


class Outbox:
    """Holds at most ``hold`` messages, and the 20 at most that are on their way; any thread may call it.

    For a live ``pace``, when full, the oldest that is not on its way is dropped and counted; otherwise ``put`` waits.
    ``wake`` is called when there is something to send.
    """

    def __init__(self, hold: int, *, pace: Pace, wake: Callable[[], None]) -> None:
        self._hold, self._pace, self._wake = hold, pace, wake
        self._changed = threading.Condition()
        self._messages: deque[Message] = deque()
        self._on_the_way: deque[int] = deque()
        self._acknowledged: set[int] = set()
        self._closed = False
        self._moved_at = 0.0
        self.sent = self.dropped = 0

    def __len__(self) -> int:
        return len(self._messages)

    def put(self, message: Message) -> None:
        """Hold ``message`` until it is acknowledged."""
        with self._changed:
            while len(self._messages) >= self._hold and not self._closed and self._pace.waits():
                self._changed.wait(POLL_S)
            if self._closed:
                self.dropped += 1
                return
            self._messages.append(message)
            if len(self._messages) - len(self._on_the_way) > self._hold and not self._pace.waits():
                del self._messages[len(self._on_the_way)]
                self.dropped += 1
        self._wake()

    def send_next(self, publish: Callable[[Message], int]) -> bool:
        """Give ``publish`` the oldest message that is not on its way, if one more may be; returns whether there was.

        ``publish`` returns the number by which the message will be acknowledged.
        """
        with self._changed:
            count = len(self._on_the_way)
            if count >= min(WINDOW, len(self._messages)):
                return False
            if count == 0:
                self._moved_at = time.monotonic()
            self._on_the_way.append(publish(self._messages[count]))
            return True

    def unanswered_s(self) -> float:
        """Seconds for which nothing of what is on its way was acknowledged; 0 when nothing is."""
        with self._changed:
            return time.monotonic() - self._moved_at if self._on_the_way else 0.0

    def acknowledge(self, number: int) -> None:
        """The broker has taken the message that was sent as ``number``."""
        with self._changed:
            if number not in self._on_the_way:  # not ours, as a state that is published beside the events
                return
            self._acknowledged.add(number)
            self._moved_at = time.monotonic()
            while self._on_the_way and self._on_the_way[0] in self._acknowledged:
                self._acknowledged.remove(self._on_the_way.popleft())
                self._messages.popleft()
                self.sent += 1
            self._changed.notify_all()

    def start_again(self) -> None:
        """The connection is lost: whatever was not acknowledged is to be sent again, in the same order."""
        with self._changed:
            self._on_the_way.clear()
            self._acknowledged.clear()
            while len(self._messages) > self._hold and not self._pace.waits():
                self._messages.popleft()
                self.dropped += 1

    def close(self) -> None:
        """Take nothing more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def give_up(self) -> int:
        """Drop and count what is left; returns how many that are."""
        with self._changed:
            lost = len(self._messages)
            self.dropped += lost
            self._messages.clear()
            self._on_the_way.clear()
            return lost
