"""Events and states to an MQTT broker, and all that is held while it is away."""

from __future__ import annotations

import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from fer_edge.errors import ConfigError, OutputError
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.secret_files import read_secret
from fer_edge.settings.service import MqttSettings
from fer_edge.sinks.base import ClosingSink, ManagedSink, ProcessedFrame
from fer_edge.sinks.event_json import event_to_json
from fer_edge.sinks.jsonl import json_line
from fer_edge.sinks.mqtt.link import Link
from fer_edge.sinks.mqtt.publisher import Publisher
from fer_edge.sinks.mqtt.session import Broker
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.sinks.outbox import Message
from fer_edge.sinks.pace import Pace
from fer_edge.status import SinkStatus, StatusBoard
from fer_edge.system.extras import require_extra
from fer_edge.system.messages import print_message
from fer_edge.types import EmotionEvent

if TYPE_CHECKING:
    import ssl


class MqttSink(ClosingSink):
    """Publishes events, and the states on ``board``, to the broker of ``settings.mqtt``; QoS 1.

    Events are held until the broker has acknowledged them, in order; after an outage those that it may have had
    already come again. Raises MissingExtraError, and ConfigError for a password or certificate that cannot be used.
    """

    def __init__(self, settings: RuntimeSettings, board: StatusBoard, *, pace: Pace) -> None:
        mqtt, self._pace = settings.mqtt, pace
        require_extra("mqtt")
        self._topics = Topics(mqtt.topic, mqtt.device or socket.gethostname(), settings.output.privacy == "aggregate")
        prefix = mqtt.discovery_prefix if mqtt.home_assistant else None
        publisher = Publisher(self._topics, board, prefix)
        self._link = Link(_broker(mqtt, self._topics), publisher, mqtt.hold, settings.recovery.retry_most_s, pace=pace)

    def emit(self, event: EmotionEvent) -> None:
        """Hold ``event`` until the broker has it."""
        payload = json_line(event_to_json(event))
        self._link.outbox.put(Message(self._topics.events(event.source), payload))
        if event.counts is not None:
            self._link.outbox.put(Message(self._topics.counts(event.source), payload, retain=True))

    def record(self, result: ProcessedFrame) -> None:
        """States are read from the board."""

    def status(self) -> SinkStatus:
        """How it is now."""
        outbox, problem = self._link.outbox, self._link.problem
        return SinkStatus("mqtt", problem is None, problem, outbox.sent, len(outbox), outbox.dropped)

    def start_closing(self) -> None:
        """Take nothing more, and send what is held."""
        self._link.start_closing()

    def close(self) -> None:
        """Send what is held, as ``Link.close`` does, and say goodbye; what is lost then is told.

        Raises OutputError instead where the pace is not live.
        """
        lost = self._link.close()
        if lost:
            problem = self._link.problem or "the broker did not take all of them in time"
            message = f"mqtt: {problem}; {lost} message{'s were' if lost > 1 else ' was'} not passed on"
            if not self._pace.live:
                raise OutputError(message)
            print_message(message)


def open_mqtt(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    """What ``[mqtt]`` names. Raises ConfigError and MissingExtraError."""
    if settings.mqtt.host is None:
        return None
    sink = MqttSink(settings, board, pace=pace)
    board.watch_sink(sink.status)
    return sink


def _broker(settings: MqttSettings, topics: Topics) -> Broker:
    password = None
    if settings.password_file is not None:
        password = read_secret(settings.password_file, "mqtt.password_file")
    return Broker(
        host=settings.host or "",
        port=settings.broker_port,
        # Always the same: a broker that still believes in the old connection then ends it, and its will comes first.
        client_id=f"fer-edge-{topics.device}",
        username=settings.username,
        password=password,
        keepalive_s=settings.keepalive_s,
        tls=_tls_context(settings) if settings.tls else None,
    )


def _tls_context(settings: MqttSettings) -> ssl.SSLContext:
    import ssl

    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except OSError as error:
        raise ConfigError(f"mqtt.ca_file: cannot use {settings.ca_file}: {error.strerror or error}") from None
    if settings.cert_file is not None and settings.key_file is not None:
        try:
            if Path(settings.key_file).stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
                raise ConfigError(f"mqtt.key_file: others may read {settings.key_file}: chmod 600 {settings.key_file}")
            context.load_cert_chain(settings.cert_file, settings.key_file, password="")  # an empty one asks nobody
        except OSError as error:
            names = f"{settings.cert_file} and {settings.key_file}"
            raise ConfigError(f"mqtt.cert_file: cannot use {names}: {error.strerror or error}") from None
    return context
