"""The MQTT sink: events and states."""

from __future__ import annotations

import socket

from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.base import ManagedSink, Pace, report_lost
from fer_edge.sinks.event_json import event_json
from fer_edge.sinks.mqtt.connection import Connection
from fer_edge.sinks.mqtt.outbox import Message
from fer_edge.sinks.mqtt.publisher import Publisher
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.status import SinkStatus, StatusBoard
from fer_edge.types import EmotionEvent


class MqttSink(ManagedSink):
    """Publish events, and the states on ``board``, to the broker of ``settings.mqtt`` with QoS 1.

    Events are held until the broker acknowledges them, and are sent in order. After an outage, those that were in
    flight are sent again.

    Raises:
        ConfigError: if a password file or certificate cannot be used.
    """

    def __init__(self, settings: RuntimeSettings, board: StatusBoard, *, pace: Pace) -> None:
        mqtt, self._pace = settings.mqtt, pace
        self._topics = Topics(mqtt.topic, mqtt.device or socket.gethostname(), settings.output.privacy == "aggregate")
        publisher = Publisher(self._topics, board, mqtt.discovery_prefix if mqtt.home_assistant else None)
        self._connection = Connection(mqtt, publisher, max_retry_s=settings.recovery.retry_most_s, pace=pace)

    def emit(self, event: EmotionEvent) -> None:
        """Queue ``event`` for the broker."""
        outbox = self._connection.outbox
        payload = event_json(event)
        outbox.put(Message(self._topics.events(event.source), payload))
        if event.counts is not None:
            outbox.put(Message(self._topics.counts(event.source), payload, retain=True))

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
            report_lost(f"mqtt: {problem}", lost, "message", fail=not self._pace.live)
