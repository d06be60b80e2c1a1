"""Publish availability, states and Home Assistant's discovery configuration, all retained, and obey requests to pause.

What an earlier run retained for sources that no longer exist is removed.
"""

from __future__ import annotations

import json
import threading
import time
from typing import Any

from paho.mqtt.client import Client, MQTTMessage, MQTTMessageInfo

from fer_edge.sinks.event_json import json_bytes
from fer_edge.sinks.mqtt import home_assistant
from fer_edge.sinks.mqtt.topics import MINOR_KEYS, OFFLINE, ONLINE, PAUSE, WATCH, Topics, topic_level
from fer_edge.status import DaemonStatus, StatusBoard

QOS = 1
SUBSCRIBED_QOS = 0
"""In a clean session, QoS 1 would deliver no more: what is in flight when the connection breaks is lost with both. A
NATS server would also store a consumer for each subscription, which is a Raft group in a cluster."""
STATES_EVERY_S = 1.0
"""Minimum time in seconds between two comparisons of the states with those published."""
_MINOR_EVERY_S = 60.0
"""Minimum time in seconds between two messages of a topic if only ``MINOR_KEYS`` have changed."""


class Publisher:
    """Publish the states on ``board`` that have changed, and pass on requests to pause sources. Thread-safe.

    Args:
        announcement: The device's description for Home Assistant, published again each time that it starts.
        announced: Whether to publish it; if not, the description of an earlier run is removed.
        settings_hash: Equal on devices with the same settings.
    """

    def __init__(
        self,
        topics: Topics,
        board: StatusBoard,
        announcement: home_assistant.Announcement,
        *,
        announced: bool,
        settings_hash: str,
    ) -> None:
        self._topics, self._board, self._announcement = topics, board, announcement
        self._announced, self._settings_hash = announced, settings_hash
        self._lock = threading.Lock()
        self._published: dict[str, dict[str, object]] = {}
        self._published_at: dict[str, float] = {}
        self._described: object = None
        self._next_at = 0.0

    def start(self, client: Client) -> None:
        """Publish ``online`` and everything else on a new connection."""
        wanted = {
            self._topics.of_all("state"): self._on_retained_state,
            self._topics.of_all("counts"): self._on_retained_state,
            self._announcement.topic(self._topics): self._on_retained_announcement,
            self._announcement.status_topic: self._on_home_assistant_status,
        }
        if self._announcement.commands:
            wanted[self._topics.of_all("watch", "set")] = self._on_watch
        for topic, callback in wanted.items():
            client.message_callback_add(topic, callback)
            client.subscribe(topic, SUBSCRIBED_QOS)
        with self._lock:
            self._forget()
            client.publish(self._topics.of("availability"), ONLINE, QOS, retain=True)
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
        now = time.monotonic()
        self._next_at = now + STATES_EVERY_S
        status = self._board.snapshot(with_runtimes=False)
        described = status.model, _zones_of(status), status.update is not None
        if described != self._described:
            self._described = described
            about = json_bytes(self._topics.description_of(status, self._settings_hash))
            client.publish(self._topics.description, about, QOS, retain=True)
            if self._announced:
                payload = json_bytes(self._payload(status))
                client.publish(self._announcement.topic(self._topics), payload, QOS, retain=True)
        for topic, state in self._topics.states(status).items():
            if self._is_news(topic, state, now):
                self._published[topic], self._published_at[topic] = state, now
                client.publish(topic, json_bytes(state), QOS, retain=True)

    def _payload(self, status: DaemonStatus) -> dict[str, Any]:
        updates = status.update is not None
        return self._announcement.payload(self._topics, status.model, _zones_of(status), updates=updates)

    def _is_news(self, topic: str, state: dict[str, object], now: float) -> bool:
        before = self._published.get(topic)
        if before is None or before == state:
            return before is None
        changed = {key for key, value in state.items() if value != before.get(key)}
        return not changed <= MINOR_KEYS or now - self._published_at[topic] >= _MINOR_EVERY_S

    def _on_watch(self, client: Client, data: object, message: MQTTMessage) -> None:
        """Obey a request. It may be retained, so that a camera stays paused after a restart."""
        for name in self._board.source_names():
            if self._topics.of(name, "watch", "set") == message.topic:
                if message.payload == PAUSE:
                    self._board.pause_of(name).set()
                elif message.payload == WATCH:
                    self._board.pause_of(name).clear()

    def _on_retained_state(self, client: Client, data: object, message: MQTTMessage) -> None:
        """Remove retained messages of an earlier run for a source that no longer exists."""
        if not (message.retain and message.payload):
            return
        if message.topic.split("/")[-2] not in map(topic_level, self._board.source_names()):
            client.publish(message.topic, b"", QOS, retain=True)

    def _on_retained_announcement(self, client: Client, data: object, message: MQTTMessage) -> None:
        """Have Home Assistant remove entities of an earlier run that this one does not announce."""
        if not (message.retain and message.payload):
            return
        if not self._announced:
            client.publish(message.topic, b"", QOS, retain=True)
            return
        try:
            before = json.loads(message.payload)
        except ValueError:
            return
        with self._lock:
            status = self._board.snapshot(with_runtimes=False)
            current = self._payload(status)
            removing = home_assistant.without_missing(before, current)
            if removing is not None:
                for payload in (removing, current):
                    client.publish(message.topic, json_bytes(payload), QOS, retain=True)

    def _on_home_assistant_status(self, client: Client, data: object, message: MQTTMessage) -> None:
        if message.payload == home_assistant.BIRTH:
            with self._lock:
                self._forget()

    def _forget(self) -> None:
        self._published.clear()
        self._described = None
        self._next_at = 0.0


def _zones_of(status: DaemonStatus) -> dict[str, tuple[str, ...]]:
    return {source.name: source.zones for source in status.sources}
