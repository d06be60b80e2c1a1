"""The connection to a broker, in a thread of its own: made, watched, lost, and made again."""

from __future__ import annotations

import contextlib
import random
import socket
import threading
import time

from fer_edge.errors import OutputError
from fer_edge.sinks.mqtt.publisher import Publisher
from fer_edge.sinks.mqtt.session import Broker, Session
from fer_edge.sinks.outbox import Outbox
from fer_edge.sinks.pace import Pace
from fer_edge.sinks.queued import FIRST_RETRY_S
from fer_edge.system.backoff import Backoff
from fer_edge.system.messages import print_message

_STEADY_S = 20.0
"""A connection that lasted as long was a good one: after it, waits begin at the shortest again."""
_GRACE_S = 1.25
"""What the thread may take beyond the time for draining: for its goodbye."""


class Link:
    """Sends what is in ``outbox``, which holds ``hold`` messages, and what ``publisher`` tells.

    A connection that fails or is lost is made again after 1 s, then after twice as long each time, ``retry_most_s`` at
    most.
    """

    def __init__(self, broker: Broker, publisher: Publisher, hold: int, retry_most_s: float, *, pace: Pace) -> None:
        self._broker, self._publisher, self._retry_most_s = broker, publisher, retry_most_s
        self._wake_reader, self._wake_writer = socket.socketpair()
        self._wake_reader.setblocking(False)
        self._wake_writer.setblocking(False)
        self._pace = pace
        self.outbox = Outbox(hold, pace=pace, wake=self._wake)
        self._sent_before = 0
        self.problem: str | None = f"{broker.where}: not connected yet"
        """Why nothing is sent now; None while all is well."""
        self._hint = f"; is another client called {broker.client_id}? Set mqtt.device"
        self._told = False
        self._closing = threading.Event()
        self._closing_until = float("inf")
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="sink mqtt", daemon=True)
        self._thread.start()

    def start_closing(self) -> None:
        """Take nothing more, and send what is held."""
        if not self._closing.is_set():
            self._closing_until = time.monotonic() + self._pace.drain_s
            self._closing.set()
            self.outbox.close()
            self._wake()

    def close(self) -> int:
        """Wait for what is held to be sent, for 5 s at most; not live, for as long as some is taken every 5 s.

        Returns how many messages are lost.
        """
        self.start_closing()
        if self._closed:
            return 0
        self._closed = True
        while self._thread.is_alive() and (left := self._closing_until + _GRACE_S - time.monotonic()) > 0:
            self._thread.join(left)
        return self.outbox.give_up()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it wakes up anyway
            self._wake_writer.send(b"\0")

    def _run(self) -> None:
        backoff, short_lived = Backoff(FIRST_RETRY_S, self._retry_most_s), 0
        while True:
            began = time.monotonic()
            session = Session(self._broker, self._publisher, self.outbox, self._wake_reader)
            try:
                session.run(self._connected, self._until)
                return
            except OutputError as error:
                problem = str(error)
            except Exception as error:  # noqa: BLE001 - whatever nonsense a server talks must not end the thread
                problem = f"{self._broker.where}: talks no MQTT that is understood: {error}"
            finally:
                self.outbox.start_again()
            lasted_s = time.monotonic() - began
            # Connected, and lost soon after: once may be chance.
            short_lived = short_lived + 1 if self.problem is None and lasted_s < _STEADY_S else 0
            self._tell(problem + (self._hint if short_lived > 1 else ""))
            if self._closing.is_set():
                return
            if lasted_s > _STEADY_S:
                backoff.reset()
            # Not all at once: tens of devices lose the same broker at the same moment.
            self._closing.wait(backoff.take() * random.uniform(0.75, 1.0))

    def _until(self) -> float:
        """When to end (monotonic seconds) where that was asked for, else infinity."""
        if self._closing.is_set() and not self._pace.live and self.outbox.sent != self._sent_before:
            self._sent_before, self._closing_until = self.outbox.sent, time.monotonic() + self._pace.drain_s
        return self._closing_until

    def _connected(self) -> None:
        self.problem = None
        if self._told:
            self._told = False
            dropped = self.outbox.dropped
            print_message(
                f"mqtt: {self._broker.where}: connected" + (f"; {dropped} messages dropped so far" if dropped else "")
            )

    def _tell(self, problem: str) -> None:
        """Once for each kind of trouble, not for each attempt."""
        if problem != self.problem:
            print_message(f"mqtt: {problem}")
            self._told = True
        self.problem = problem
