"""What is told to a broker beside the events: that we are there, how we are, and to Home Assistant what we are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from fer_edge.sinks.mqtt import home_assistant
from fer_edge.sinks.mqtt.topics import OFFLINE, ONLINE, Topics
from fer_edge.status import StatusBoard

if TYPE_CHECKING:
    from paho.mqtt.client import Client

QOS = 1
STATES_EVERY_S = 1.0
"""Seconds between two looks at the states; what has changed is published."""


class Publisher:
    """Publishes retained messages of ``topics`` from ``board``, each when it has changed.

    With ``discovery_prefix``, the configurations for Home Assistant too, and again when that has started.
    """

    def __init__(self, topics: Topics, board: StatusBoard, discovery_prefix: str | None) -> None:
        self.topics = topics
        self._board, self._prefix = board, discovery_prefix
        self._published: dict[str, bytes] = {}
        self._described: object = None
        self._next_look = 0.0

    def begin(self, client: Client) -> None:
        """A connection was made: everything is new to it."""
        if self._prefix is not None:
            client.subscribe(home_assistant.status_topic(self._prefix), QOS)
        self._forget()
        self._publish(client, {self.topics.availability: ONLINE})

    def received(self, topic: str, payload: bytes) -> None:
        """A message came: that Home Assistant has started, and knows nothing."""
        birth = self._prefix is not None and topic == home_assistant.status_topic(self._prefix)
        if birth and payload == home_assistant.BIRTH:
            self._forget()

    def wait_s(self) -> float:
        """Seconds until the next look."""
        return max(0.0, self._next_look - time.monotonic())

    def end(self, client: Client) -> int:
        """Publish how all was left, and that we are gone; returns the number by which that is acknowledged."""
        self._next_look = 0.0
        self.look(client)
        return client.publish(self.topics.availability, OFFLINE, QOS, retain=True).mid

    def look(self, client: Client) -> None:
        """Publish what has changed, if it is time."""
        if self.wait_s() > 0:
            return
        self._next_look = time.monotonic() + STATES_EVERY_S
        status = self._board.snapshot(with_runtimes=False)
        described = status.model, [source.name for source in status.sources]
        if self._prefix is not None and described != self._described:
            self._described = described
            configs = home_assistant.device_config(self._prefix, self.topics, status.model)
            for source in status.sources:
                configs |= home_assistant.source_config(self._prefix, self.topics, status.model, source.name)
            self._publish(client, configs)
        self._publish(client, self.topics.states(status))

    def _forget(self) -> None:
        self._published.clear()
        self._described = None
        self._next_look = 0.0

    def _publish(self, client: Client, payloads: dict[str, bytes]) -> None:
        for topic, payload in payloads.items():
            if self._published.get(topic) != payload:
                client.publish(topic, payload, QOS, retain=True)
                self._published[topic] = payload
