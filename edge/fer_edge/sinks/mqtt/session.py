"""One connection to a broker, from its beginning to its end."""

from __future__ import annotations

import contextlib
import math
import selectors
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from fer_edge.errors import OutputError, reason_of
from fer_edge.sinks.mqtt.publisher import QOS, Publisher
from fer_edge.sinks.mqtt.topics import OFFLINE
from fer_edge.sinks.outbox import Message, Outbox

if TYPE_CHECKING:
    import ssl

    from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessage
    from paho.mqtt.properties import Properties
    from paho.mqtt.reasoncodes import ReasonCode

_ANSWER_S = 10.0
"""How long a broker may take to let us in, and before that each to take the connection and to encrypt it."""
_ACKNOWLEDGE_S = 30.0
"""How long it may leave all that was published without an answer."""
_GOODBYE_S = 1.0
_LONGEST_WAIT_S = 1.0
"""Wait for something to happen, so that keepalive is looked at in time."""


@dataclass(frozen=True, slots=True)
class Broker:
    """Where to connect, and as whom; the password shows nowhere."""

    host: str
    port: int
    client_id: str
    username: str | None
    password: str | None = field(repr=False)
    keepalive_s: int
    tls: ssl.SSLContext | None

    @property
    def where(self) -> str:
        """Host and port, for people."""
        return f"{self.host}:{self.port}"


class Session:
    """Sends from ``outbox`` and ``publisher``; ``wake`` becomes readable when there is something new to send."""

    def __init__(self, broker: Broker, publisher: Publisher, outbox: Outbox, wake: socket.socket) -> None:
        self._broker, self._publisher, self._outbox, self._wake = broker, publisher, outbox, wake
        self._connected = False
        self._refused: str | None = None
        self._lost: str | None = None
        self._goodbye: int | None = None

    def run(self, on_connected: Callable[[], None], until: Callable[[], float]) -> None:
        """Until ``until`` is finite, and all is sent or that time (monotonic seconds) has come.

        ``on_connected`` is called when the broker has let us in. Raises OutputError when it does not, or when the
        connection is lost.
        """
        client = self._client()
        with contextlib.ExitStack() as stack:
            stack.callback(_hang_up, client)
            self._connect(client)
            selector = stack.enter_context(selectors.DefaultSelector())
            selector.register(self._wake, selectors.EVENT_READ)
            answer_until = time.monotonic() + _ANSWER_S
            while True:
                was_connected = self._connected
                self._turn(client, selector, math.isfinite(until()))
                now, end = time.monotonic(), until()
                if self._connected and not was_connected:
                    self._publisher.begin(client)
                    on_connected()
                if self._connected:
                    self._publisher.look(client)
                    while self._outbox.send_next(lambda message: _publish(client, message)):
                        pass
                    if self._outbox.unanswered_s() > _ACKNOWLEDGE_S:
                        raise OutputError(f"{self._broker.where}: does not acknowledge what is published")
                elif now > answer_until:
                    raise OutputError(self._problem())
                if now > end or (math.isfinite(end) and self._connected and len(self._outbox) == 0):
                    self._say_goodbye(client, selector)
                    return

    def _client(self) -> Client:
        from paho.mqtt.client import Client, MQTTv311
        from paho.mqtt.enums import CallbackAPIVersion

        broker, topics = self._broker, self._publisher.topics
        client = Client(
            CallbackAPIVersion.VERSION2,
            broker.client_id,
            clean_session=True,
            protocol=MQTTv311,
            reconnect_on_failure=False,
        )
        client.connect_timeout = _ANSWER_S
        client.max_inflight_messages_set(0)  # the outbox sees to that
        client.will_set(topics.availability, OFFLINE, QOS, retain=True)
        if broker.username is not None:
            client.username_pw_set(broker.username, broker.password)
        if broker.tls is not None:
            client.tls_set_context(broker.tls)
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        client.on_message = self._on_message
        return client

    def _connect(self, client: Client) -> None:
        broker = self._broker
        try:
            client.connect(broker.host, broker.port, broker.keepalive_s)
        except (OSError, ValueError) as error:  # ValueError: a name that cannot be one of a host
            raise OutputError(f"{broker.where}: cannot connect: {_reason(error)}") from None

    def _turn(self, client: Client, selector: selectors.BaseSelector, hurry: bool) -> None:
        """Wait for something to happen, for a second at most, and let the client deal with it."""
        connection = client.socket()
        if connection is not None:
            wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if client.want_write() else 0)
            selector.register(connection, wanted)
            waiting = getattr(connection, "pending", int)()  # decrypted already, so that no selector tells of it
            most_s = self._publisher.wait_s() if self._connected else _LONGEST_WAIT_S
            try:
                selector.select(0.0 if waiting else min(most_s, 0.1 if hurry else _LONGEST_WAIT_S))
            finally:
                selector.unregister(connection)
            with contextlib.suppress(BlockingIOError):
                self._wake.recv(4096)
            client.loop_read()
            client.loop_write()
            client.loop_misc()
        if self._refused is not None:
            raise OutputError(f"{self._broker.where}: the broker refuses us: {self._refused}")
        if client.socket() is None:
            raise OutputError(self._problem() + (f": {self._lost}" if self._lost else ""))

    def _problem(self) -> str:
        if self._connected:
            return f"{self._broker.where}: the connection is lost"
        return f"{self._broker.where}: takes the connection, but does not answer as a broker does"

    def _say_goodbye(self, client: Client, selector: selectors.BaseSelector) -> None:
        """In order, so that the broker does not publish the will as well; nothing can be done about a failure."""
        if not self._connected:
            return
        until = time.monotonic() + _GOODBYE_S
        self._goodbye = self._publisher.end(client)
        with contextlib.suppress(OutputError):
            while self._goodbye is not None and time.monotonic() < until:
                self._turn(client, selector, True)
            client.disconnect()

    def _on_connect(
        self, client: Client, data: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._refused = str(code)
        else:
            self._connected = True

    def _on_disconnect(
        self, client: Client, data: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        self._lost = str(code)

    def _on_publish(self, client: Client, data: object, number: int, code: ReasonCode, properties: Properties) -> None:
        if number == self._goodbye:
            self._goodbye = None
        self._outbox.acknowledge(number)

    def _on_message(self, client: Client, data: object, message: MQTTMessage) -> None:
        self._publisher.received(message.topic, bytes(message.payload))


def _publish(client: Client, message: Message) -> int:
    return client.publish(message.topic, message.payload, QOS, retain=message.retain).mid


def _hang_up(client: Client) -> None:
    """Without a goodbye, so that the broker publishes the will, unless one was said."""
    connection = client.socket()
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.close()


def _reason(error: Exception) -> str:
    certificate = getattr(error, "verify_message", None)
    if certificate:
        return f"its certificate is not accepted: {certificate}"
    return reason_of(error)
