"""The MQTT sink: events and states."""

from __future__ import annotations

import socket

from fer_edge.errors import OutputError
from fer_edge.protocols import ClosingSink
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.base import ManagedSink
from fer_edge.sinks.event_json import event_to_json, json_bytes
from fer_edge.sinks.mqtt.broker import broker_of
from fer_edge.sinks.mqtt.outbox import Message
from fer_edge.sinks.mqtt.publisher import Publisher
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.sinks.pace import Pace
from fer_edge.status import SinkStatus, StatusBoard
from fer_edge.system.extras import require_extra
from fer_edge.system.messages import print_message
from fer_edge.types import EmotionEvent, FrameResult


class MqttSink(ClosingSink):
    """Publish events, and the states on ``board``, to the broker of ``settings.mqtt`` with QoS 1.

    Events are held until the broker acknowledges them, and are sent in order. After an outage, those that were in
    flight are sent again.

    Raises:
        MissingExtraError: if paho is not installed.
        ConfigError: if a password file or certificate cannot be used.
    """

    def __init__(self, settings: RuntimeSettings, board: StatusBoard, *, pace: Pace) -> None:
        require_extra("mqtt")
        from fer_edge.sinks.mqtt.connection import Connection

        mqtt, self._pace = settings.mqtt, pace
        self._topics = Topics(mqtt.topic, mqtt.device or socket.gethostname(), settings.output.privacy == "aggregate")
        publisher = Publisher(self._topics, board, mqtt.discovery_prefix if mqtt.home_assistant else None)
        broker, max_retry_s = broker_of(mqtt, self._topics.device), settings.recovery.retry_max_s
        self._connection = Connection(
            broker, publisher, hold=mqtt.max_queued_messages, max_retry_s=max_retry_s, pace=pace
        )

    def emit(self, event: EmotionEvent) -> None:
        """Queue ``event`` for the broker."""
        outbox = self._connection.outbox
        payload = json_bytes(event_to_json(event))
        outbox.put(Message(self._topics.events(event.source), payload))
        if event.counts is not None:
            outbox.put(Message(self._topics.counts(event.source), payload, retain=True))

    def record(self, result: FrameResult) -> None:
        """Do nothing: states are read from the board."""

    def status(self) -> SinkStatus:
        """Return the connection's state and the number of messages sent, waiting and dropped."""
        outbox, problem = self._connection.outbox, self._connection.problem
        return SinkStatus("mqtt", problem is None, problem, outbox.sent, len(outbox), outbox.dropped)

    def start_closing(self) -> None:
        """Accept no more events; send those held."""
        self._connection.start_closing()

    def close(self) -> None:
        """Send the events held, publish ``offline`` and disconnect; see ``Connection.close``.

        Lost events are reported.

        Raises:
            OutputError: if events were lost and the pace is not live.
        """
        lost = self._connection.close()
        if lost:
            problem = self._connection.problem or "the broker did not acknowledge all messages in time"
            message = f"mqtt: {problem}; {lost} message{'s were' if lost > 1 else ' was'} lost"
            if not self._pace.live:
                raise OutputError(message)
            print_message(message)


def open_mqtt(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    """Open the sink of ``[mqtt]``; None if no broker is set. Raises ConfigError and MissingExtraError."""
    if settings.mqtt.host is None:
        return None
    sink = MqttSink(settings, board, pace=pace)
    board.watch_sink(sink.status)
    return sink
