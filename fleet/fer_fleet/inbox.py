"""Messages from the broker, acknowledged only after they are stored."""

from __future__ import annotations

import queue
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage, MQTTv311
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fer_edge.settings.secret_files import read_secret
from fer_edge.sinks.tls import tls_context
from fer_edge.system.messages import print_message
from fer_edge.system.timing import Backoff
from fer_fleet.messages import MAX_PAYLOAD_BYTES

CLIENT_ID = "fer-edge-fleet"
"""The same after a restart, so that the broker keeps what was not acknowledged."""
_QOS = 1
_TOPICS = ("+/+/events", "+/availability", "+/$description", "+/state")
_MAX_RETRY_S = 30.0
_MAX_UNPACED = 5000
"""Messages that may wait when one of QoS 0 is accepted: at most 320 MiB."""
_IDLE_S = 0.05
"""A batch ends after so long without a message: the broker may send no more until some are acknowledged."""


@dataclass(frozen=True, slots=True)
class Broker:
    """How to reach and log in to the broker."""

    host: str
    port: int
    username: str | None = None
    password_file: str | None = None
    tls: bool = False
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None

    def __str__(self) -> str:
        """Return what messages name."""
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Received:
    """A message as it came; ``connection`` counts the connections to the broker."""

    connection: int
    number: int
    topic: str
    payload: bytes
    at: datetime
    retained: bool
    repeated: bool
    """Whether the broker has sent it before: it may be older than what came since."""
    acknowledged: bool
    """Whether the broker waits for an acknowledgement: not of QoS 0, which no device of ours uses."""


class Inbox:
    """A persistent session at ``broker`` that receives what devices publish below ``topic``.

    paho's thread connects, reconnects and receives. A message that is not acknowledged on the connection on which it
    came is sent again on the next one.

    Raises:
        ConfigError: if a password file or certificate cannot be used.
    """

    def __init__(self, broker: Broker, topic: str) -> None:
        self._broker, self._topic = broker, topic
        self._queue: queue.Queue[Received] = queue.Queue()
        self._lock = threading.Lock()
        self._connection = 0
        self._held: Counter[int] = Counter()
        """How many messages with each number are not acknowledged."""
        self._asked: Sequence[str] = ()
        self._is_new = False
        self._backoff = Backoff(1.0, _MAX_RETRY_S)
        self._problem: str | None = None
        client = Client(CallbackAPIVersion.VERSION2, CLIENT_ID, clean_session=False, protocol=MQTTv311, manual_ack=True)
        _log_in(client, broker)
        client.connect_timeout = 10.0
        client.reconnect_delay_set(1, 30)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message
        self._client = client
        client.connect_async(broker.host, broker.port, keepalive=30)
        client.loop_start()

    def take(self, max_messages: int, max_wait_s: float) -> list[Received]:
        """Return the next messages; wait for them at most ``max_wait_s`` seconds."""
        taken: list[Received] = []
        until = time.monotonic() + max_wait_s
        while len(taken) < max_messages:
            left_s = until - time.monotonic()
            try:
                taken.append(self._queue.get(timeout=max(0.0, min(left_s, _IDLE_S) if taken else left_s)))
            except queue.Empty:
                break
        with self._lock:
            # The rest comes again, and in its order: stored now, it would overtake what was lost with its connection.
            return [message for message in taken if message.connection == self._connection]

    def acknowledge(self, messages: Sequence[Received]) -> None:
        """Let the broker forget ``messages``, which are stored."""
        for message in messages:
            with self._lock:
                # The same number may mean another message on another connection.
                if not message.acknowledged or message.connection != self._connection:
                    continue
                self._held[message.number] -= 1
                # If another message has the number too, an acknowledgement would be taken for that one, which is not
                # stored: see _is_held.
                if not self._held[message.number]:
                    del self._held[message.number]
                    self._client.ack(message.number, _QOS)

    def close(self) -> None:
        """Disconnect; the broker keeps the session. Idempotent."""
        self._client.disconnect()
        self._client.loop_stop()

    def _on_connect(
        self, client: Client, data: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._report(f"{self._broker}: the broker refuses the connection: {code}")
            return
        if self._problem is not None:
            print_message(f"{self._broker}: connected again")
            self._problem = None
        self._is_new = not flags.session_present
        self._backoff.reset()
        # Also if the broker has the session, which may be of other topics, or may have been saved without them by a
        # broker that was killed then. Retained messages come again with it, before events that waited.
        self._subscribe([f"{self._topic}/{level}" for level in _TOPICS])

    def _subscribe(self, topics: Sequence[str]) -> None:
        self._asked = topics
        self._client.subscribe([(topic, _QOS) for topic in topics])

    def _on_subscribe(
        self, client: Client, data: object, number: int, codes: Sequence[ReasonCode], properties: Properties | None
    ) -> None:
        # Not only because of permissions: a cluster of NATS servers refuses some while it elects a leader.
        refused = [topic for topic, code in zip(self._asked, codes, strict=False) if code.is_failure]
        if refused:
            self._report(f"{self._broker}: the broker refuses the subscription to {', '.join(refused)}; trying again")
            again = threading.Timer(self._backoff.take(), self._subscribe_again, (self._connection, refused))
            again.daemon = True
            again.start()
        elif self._is_new or self._problem is not None:
            print_message(f"{self._broker}: subscribed; from now on the broker keeps events for this client")
            self._problem = None

    def _subscribe_again(self, connection: int, topics: Sequence[str]) -> None:
        with self._lock:
            if connection == self._connection:
                self._subscribe(topics)

    def _on_connect_fail(self, client: Client, data: object) -> None:
        self._report(f"{self._broker}: cannot connect to the broker; trying again")

    def _on_disconnect(
        self, client: Client, data: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        with self._lock:
            self._connection += 1
            self._held.clear()
            while not self._queue.empty():
                self._queue.get_nowait()
        if code.is_failure:
            self._report(f"{self._broker}: the connection to the broker is lost: {code}")

    def _on_message(self, client: Client, data: object, message: MQTTMessage) -> None:
        # Those of QoS 0 come as fast as anyone publishes; the broker limits the others by what is not acknowledged.
        if message.qos == 0 and self._queue.qsize() > _MAX_UNPACED:
            return
        if self._is_held(message):
            return
        payload = bytes(message.payload[: MAX_PAYLOAD_BYTES + 1])  # one more shows that it is too large
        now = datetime.now(UTC)
        try:
            topic = message.topic
        except UnicodeDecodeError:
            topic = ""
        sent = (message.retain, message.dup, message.qos > 0)
        self._queue.put(Received(self._connection, message.mid, topic, payload, now, *sent))

    def _is_held(self, message: MQTTMessage) -> bool:
        """Return whether ``message`` waits here already; if not, note that it does from now on.

        NATS sends what is not acknowledged again after its ``ack_wait``, on the same connection: all of it every few
        seconds while the database is down. It may also do so while the acknowledgement is on its way, and then give the
        number to the next message.
        """
        if message.qos == 0:
            return False
        with self._lock:
            if message.dup and self._held[message.mid]:
                return True
            self._held[message.mid] += 1
            return False

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            self._problem = problem
            print_message(problem)


def _log_in(client: Client, broker: Broker) -> None:
    if broker.username is not None:
        file = broker.password_file
        client.username_pw_set(broker.username, None if file is None else read_secret(file, "--password-file"))
    if broker.tls:
        client.tls_set_context(tls_context("--{}-file", broker.ca_file, broker.cert_file, broker.key_file))
