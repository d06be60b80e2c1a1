"""Publish availability, states and Home Assistant's discovery configuration, all retained."""

from __future__ import annotations

import threading
import time

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

from fer_edge.sinks.mqtt import home_assistant
from fer_edge.sinks.mqtt.topics import OFFLINE, ONLINE, Topics
from fer_edge.status import StatusBoard

QOS = 1
STATES_EVERY_S = 1.0
"""Minimum time in seconds between two comparisons of the states with those published."""


class Publisher:
    """Publish the states on ``board`` that have changed. Thread-safe.

    With ``discovery_prefix``, also publish the configuration for Home Assistant, again each time that it starts.
    """

    def __init__(self, topics: Topics, board: StatusBoard, discovery_prefix: str | None) -> None:
        self._topics = topics
        self._board, self._prefix = board, discovery_prefix
        self._lock = threading.Lock()
        self._published: dict[str, bytes] = {}
        self._described: object = None
        self._next_at = 0.0

    def start(self, client: Client) -> None:
        """Publish ``online`` and everything else on a new connection."""
        if self._prefix is not None:
            topic = home_assistant.status_topic(self._prefix)
            client.message_callback_add(topic, self._home_assistant_status)
            client.subscribe(topic, QOS)
        with self._lock:
            self._forget()
            self._publish(client, {self._topics.of("availability"): ONLINE})
            self._publish_changes(client)

    def publish_changes(self, client: Client) -> None:
        """Publish what has changed, at most once every ``STATES_EVERY_S`` seconds."""
        with self._lock:
            if time.monotonic() >= self._next_at:
                self._publish_changes(client)

    def leave(self, client: Client) -> MQTTMessageInfo:
        """Publish the last states, then ``offline``; return the latter's delivery."""
        with self._lock:
            self._publish_changes(client)
        return client.publish(self._topics.of("availability"), OFFLINE, QOS, retain=True)

    def _publish_changes(self, client: Client) -> None:
        self._next_at = time.monotonic() + STATES_EVERY_S
        status = self._board.snapshot(with_runtimes=False)
        described = status.model, [source.name for source in status.sources]
        if self._prefix is not None and described != self._described:
            self._described = described
            self._publish(client, home_assistant.discovery(self._prefix, self._topics, *described))
        self._publish(client, self._topics.states(status))

    def _home_assistant_status(self, client: Client, data: object, message: MQTTMessage) -> None:
        if message.payload == home_assistant.BIRTH:
            with self._lock:
                self._forget()

    def _forget(self) -> None:
        self._published.clear()
        self._described = None
        self._next_at = 0.0

    def _publish(self, client: Client, payloads: dict[str, bytes]) -> None:
        for topic, payload in payloads.items():
            if self._published.get(topic) != payload:
                client.publish(topic, payload, QOS, retain=True)
                self._published[topic] = payload
