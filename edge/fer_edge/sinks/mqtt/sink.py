"""The MQTT sink: events and states, published in paho's network thread.

This module imports paho; import it only where MQTT is used. paho connects, pings and reconnects. Added here is what it
lacks: a thread that survives an exception, the reason of a failed attempt, random and growing waits after connections
that are lost soon, a limit for acknowledgements, and closing in bounded time. See ``outbox`` for the queue.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import random
import socket
import sys
import threading
import time

import msgspec
from paho.mqtt.client import Client, ConnectFlags, DisconnectFlags, MQTTMessageInfo
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from fer_edge.errors import reason_of
from fer_edge.settings.redaction import redacted
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import MqttSettings, WebSettings
from fer_edge.sinks.base import ManagedSink, Pace, report_lost
from fer_edge.sinks.event_json import encode_json
from fer_edge.sinks.mqtt.client import LimitedClient
from fer_edge.sinks.mqtt.home_assistant import Announcement
from fer_edge.sinks.mqtt.outbox import Message, Outbox
from fer_edge.sinks.mqtt.publisher import QOS, SUBSCRIBED_QOS, Publisher
from fer_edge.sinks.mqtt.topics import OFFLINE, Topics
from fer_edge.sinks.queued import FIRST_RETRY_S
from fer_edge.status import SinkStatus, StatusBoard
from fer_edge.system.device_name import device_name
from fer_edge.system.messages import RepeatedFaults, print_message
from fer_edge.system.timing import Backoff
from fer_edge.types import EmotionEvent

_CONNECT_TIMEOUT_S = 10.0
"""Limit for the TCP connection, and again for the TLS handshake. The broker's answer is limited by the keepalive."""
_ACKNOWLEDGE_TIMEOUT_S = 30.0
"""Limit for an acknowledgement. A broker may answer pings and still not acknowledge messages."""
_STABLE_S = 20.0
"""A connection that lasted this long was a good one; one that is lost sooner makes the next retry wait longer."""
_LOCAL_HOSTS, _ALL_ADDRESSES = ("localhost", "::1"), ("0.0.0.0", "::")
_CLOSING_RETRY_S = 0.1
_GOODBYE_S = 1.0
"""Limit for publishing ``offline``, and again for closing the connection."""


class MqttSink(ManagedSink):
    """Publish events, and the states on ``board``, to the broker of ``settings.mqtt`` with QoS 1.

    Events are held until the broker acknowledges them, and are sent in order. After an outage, those that were in
    flight are sent again.

    paho's network thread (``loop_start``) connects, watches the keepalive and reconnects: after 1 s at first, then
    twice as long after each failure, up to ``recovery.retry_max_s``. Messages are published by the thread that emits
    them, and by paho's thread whenever there is room for more; publishing never blocks.

    Raises:
        ConfigError: if a password file or certificate cannot be used.
    """

    def __init__(self, settings: RuntimeSettings, board: StatusBoard, *, pace: Pace) -> None:
        mqtt, self._pace, self._max_retry_s = settings.mqtt, pace, settings.recovery.retry_max_s
        aggregate = settings.output.privacy == "aggregate"
        self._topics = Topics(mqtt.topic, mqtt.device or device_name(), aggregate, mqtt.confidence_step)
        announcement = Announcement(mqtt.discovery_prefix, mqtt.area, _page_url(settings.web), mqtt.commands)
        self._publisher = Publisher(
            self._topics, board, announcement, announced=mqtt.home_assistant, settings_hash=_settings_hash(settings)
        )
        host, port = mqtt.host or "", mqtt.broker_port
        self._where = f"{host}:{port}"
        # The same after a restart: a broker that has not noticed the end of the old connection then closes it, and
        # publishes its last will before the new connection publishes ``online``.
        self._client_id = f"fer-edge-{self._topics.device}"
        self._outbox = Outbox(mqtt.max_queued_messages, pace=pace, wake=self._send)
        self._problem: str | None = f"{self._where}: not connected yet"
        self._backoff = Backoff(FIRST_RETRY_S, self._max_retry_s)
        self._attempting = self._leaving = False
        self._faults = RepeatedFaults()
        self._connected_at: float | None = None
        self._short_lived = 0
        self._closing_since: float | None = None
        self._disconnected = threading.Event()
        self._client = _Client(self, mqtt)
        self._client.connect_async(host, port, mqtt.keepalive_s)
        self._client.loop_start()

    def emit(self, event: EmotionEvent) -> None:
        """Queue ``event`` for the broker."""
        payload = encode_json(event)
        self._outbox.put(Message(self._topics.of(event.source, "events"), payload))
        if event.counts is not None:
            self._outbox.put(Message(self._topics.of(event.source, "counts"), payload, retain=True))

    def status(self) -> SinkStatus:
        """Return the connection's state and the number of messages sent, waiting and dropped."""
        outbox, problem = self._outbox, self._problem
        return SinkStatus("mqtt", problem is None, problem, outbox.sent, len(outbox), outbox.dropped)

    def start_closing(self) -> None:
        """Accept no more events; send those held."""
        if self._closing_since is None:
            self._closing_since = time.monotonic()
            self._outbox.close()
            self._client.closing.set()

    def close(self) -> None:
        """Send the events held, publish the last states and ``offline``, and disconnect. Idempotent.

        Waits at most ``pace.drain_s`` seconds for the events; if not live, as long as any is acknowledged within that
        time. Gives up at once if an attempt to connect fails while closing. Lost events are reported.

        Raises:
            OutputError: if events were lost and the pace is not live.
        """
        self.start_closing()
        if self._leaving:
            return
        assert self._closing_since is not None
        deadline, sent = self._closing_since + self._pace.drain_s, self._outbox.sent
        while not self._outbox.wait_until_sent(deadline - time.monotonic()):
            if self._pace.live or self._outbox.sent == sent:
                break
            deadline, sent = time.monotonic() + self._pace.drain_s, self._outbox.sent
        self._leaving = True
        if self._client.is_connected():
            with contextlib.suppress(RuntimeError, ValueError):  # the connection was lost at this moment
                self._publisher.leave(self._client).wait_for_publish(_GOODBYE_S)
        # Not ``loop_stop``: it waits for paho's thread, which may be resolving a name. After ``disconnect`` the thread
        # ends on its own.
        if self._client.disconnect() == MQTTErrorCode.MQTT_ERR_SUCCESS and not self._disconnected.wait(_GOODBYE_S):
            self._client.hang_up()
        lost = self._outbox.clear()
        if lost:
            problem = self._problem or "the broker did not acknowledge all messages in time"
            report_lost(f"mqtt: {problem}", lost, "message", fail=not self._pace.live)

    def _send(self) -> None:
        while self._outbox.send_next(self._publish):
            pass

    def _publish(self, message: Message) -> MQTTMessageInfo | None:
        delivery = self._client.publish(message.topic, message.payload, QOS, retain=message.retain)
        return delivery if delivery.rc == MQTTErrorCode.MQTT_ERR_SUCCESS else None

    def _maintain(self) -> None:
        """Do periodic work. paho's thread calls this after each network event, or after 1 s, while connected."""
        self._outbox.remove_acknowledged()
        if not self._leaving:
            self._publisher.publish_changes(self._client)
        self._send()
        if self._outbox.unanswered_s() > _ACKNOWLEDGE_TIMEOUT_S:
            self._client.cause = "the broker does not acknowledge messages"
            self._client.hang_up()

    def _crashed(self, error: Exception) -> None:
        connecting = self._client.socket() is None
        self._lost(f"cannot connect: {_reason(error)}" if connecting else f"{type(error).__name__}: {_reason(error)}")

    def _lost(self, problem: str) -> None:
        """Handle the end of a connection or of an attempt to connect. paho will try again."""
        self._outbox.remove_acknowledged()
        self._outbox.disconnected()
        if self._leaving:
            self._disconnected.set()
        if self._leaving or not self._attempting:  # paho may report the end of one connection twice
            return
        self._attempting = False
        connected_at, self._connected_at = self._connected_at, None
        if connected_at is not None:
            short = time.monotonic() - connected_at < _STABLE_S
            self._short_lived = self._short_lived + 1 if short else 0
            if self._short_lived > 1 and self._client.cause is None:
                problem += f"; is another client named {self._client_id}? Set mqtt.device"
            # Not the shortest wait after every connection: two clients with the same name would then disconnect each
            # other every second.
            doublings = min(max(0, self._short_lived - 1), 12)
            self._backoff = Backoff(min(FIRST_RETRY_S * 2**doublings, self._max_retry_s), self._max_retry_s)
        elif self._closing_since is not None:
            self._outbox.abandon()
        problem = f"{self._where}: {problem}"
        self._problem = problem
        message = self._faults.add(f"mqtt: {problem}", time.monotonic())
        if message is not None:
            print_message(message)

    def _on_pre_connect(self, client: Client, data: object) -> None:
        self._attempting, self._client.cause = True, None

    def _on_connect(
        self, client: Client, data: object, flags: ConnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if code.is_failure:
            self._client.cause = f"the broker refuses the connection: {code}"
            return
        if self._leaving:  # an attempt that was under way when the sink was closed
            client.disconnect()
            return
        self._connected_at = time.monotonic()
        self._outbox.disconnected()
        self._client.drop_out_messages()  # paho would send them after those that are published below
        self._publisher.start(client)
        self._problem = None
        if self._faults.ended():
            dropped = self._outbox.dropped
            print_message(
                f"mqtt: {self._where}: connected" + (f"; {dropped} messages dropped so far" if dropped else "")
            )
        self._outbox.connected()
        self._send()

    def _on_connect_fail(self, client: Client, data: object) -> None:
        # paho passes no reason, but calls this from its ``except`` block.
        error = sys.exc_info()[1]
        self._lost("cannot connect" if error is None else f"cannot connect: {_reason(error)}")

    def _on_disconnect(
        self, client: Client, data: object, flags: DisconnectFlags, code: ReasonCode, properties: Properties | None
    ) -> None:
        if self._connected_at is None:
            self._lost(self._client.cause or "accepts the connection, but does not answer as an MQTT broker does")
        else:
            self._lost(f"the connection is lost: {self._client.cause or code}")


class _Client(LimitedClient):
    """paho's client of ``sink``, with what its thread lacks: periodic work, limits, surviving errors, fast closing."""

    def __init__(self, sink: MqttSink, settings: MqttSettings) -> None:
        super().__init__(settings, sink._client_id, _CONNECT_TIMEOUT_S)
        self.max_inflight_messages_set(0)  # unlimited: the outbox has its own limit
        self.will_set(sink._topics.of("availability"), OFFLINE, QOS, retain=True)
        self.on_pre_connect = sink._on_pre_connect
        self.on_connect = sink._on_connect
        self.on_connect_fail = sink._on_connect_fail
        self.on_disconnect = sink._on_disconnect
        self._sink = sink
        self.closing = threading.Event()
        """Set when the connection is to be closed: an attempt to connect is then made at once."""

    def loop_misc(self) -> MQTTErrorCode:
        """Also do the periodic work of the sink while connected."""
        code = super().loop_misc()
        if self._in_messages:  # paho keeps those of QoS 2 until the broker releases them, which it may never do
            self.cause = f"the broker sends messages with QoS 2, but QoS {SUBSCRIBED_QOS} was asked for"
            self._in_messages.clear()
            self.hang_up()
        if code == MQTTErrorCode.MQTT_ERR_SUCCESS and self.is_connected():
            self._sink._maintain()
        return code

    def loop_forever(self, timeout: float = 1.0, retry_first_connection: bool = False) -> MQTTErrorCode:
        """Treat an exception as a lost connection, instead of ending the thread with a traceback.

        paho handles malformed packets and OSError, but not a host name that cannot be encoded, nor a connection that
        fails while it retries with an older protocol.
        """
        while True:
            try:
                return super().loop_forever(timeout, retry_first_connection)
            except Exception as error:  # noqa: BLE001 - see above
                self._sink._crashed(error)
                # Closed, not shut down: the loop would handle the same packet again before it read from the socket.
                connection = self.socket()
                if connection is not None:
                    connection.close()

    def _reconnect_wait(self) -> None:
        """Wait between two attempts, but not while closing: the broker may be back, and events still wait for it."""
        if self.closing.is_set():  # the attempt made at once has failed: ``close`` is about to give up
            time.sleep(_CLOSING_RETRY_S)
        else:
            # Random, so that devices that lose their broker at the same moment do not all return at the same moment.
            self.closing.wait(self._sink._backoff.take() * random.uniform(0.75, 1.0))

    def hang_up(self) -> None:
        """Shut the socket down, so that paho's loop finds the connection lost."""
        connection = self.socket()
        if isinstance(connection, socket.socket):
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _settings_hash(settings: RuntimeSettings) -> str:
    """Return 16 hexadecimal digits that are equal on devices with the same settings, apart from ``mqtt.device``.

    Passwords in URLs are left out: a hash would let anyone who reads it try passwords.
    """
    alike = msgspec.structs.replace(settings, mqtt=msgspec.structs.replace(settings.mqtt, device=None))
    text = redacted(json.dumps(msgspec.to_builtins(alike, enc_hook=str), sort_keys=True))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _page_url(web: WebSettings) -> str | None:
    """Return the address of the status page on the network; None if other machines cannot reach it."""
    if not web.enabled or web.port == 0 or web.host in _LOCAL_HOSTS or web.host.startswith("127."):
        return None
    host = socket.gethostname() if web.host in _ALL_ADDRESSES else web.host
    return f"http://{f'[{host}]' if ':' in host else host}:{web.port}/"


def _reason(error: BaseException) -> str:
    certificate = getattr(error, "verify_message", None)
    if certificate:
        return f"its certificate is not accepted: {certificate}"
    return reason_of(error)
