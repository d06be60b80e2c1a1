"""``fer-edge fleet ingest`` as a process, devices that publish to its broker, and what is stored."""

from __future__ import annotations

import itertools
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import psycopg
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fer_edge.sinks.event_json import encode_json
from fer_edge.types import EmotionEvent, EventKind
from support.processes.edge_command import clean_environment, command_line
from support.processes.waiting import wait_for

_STORING = "storing events"
SUBSCRIBED = "subscribed; from now on the broker keeps events"
"""Its subscription starts the session in which the broker keeps what devices publish."""


class Listening(Protocol):
    """A broker."""

    @property
    def host(self) -> str: ...
    @property
    def port(self) -> int: ...


class Device:
    """A client that may publish anything."""

    def __init__(self, broker: Listening, name: str, password: str | None = None) -> None:
        self.name, self.sent = name, 0
        self._client = Client(CallbackAPIVersion.VERSION2, f"fer-edge-{name}", clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        if password is not None:
            self._client.username_pw_set(name, password)
        self._client.connect(broker.host, broker.port)
        self._client.loop_start()

    def send(
        self, payload: bytes | None = None, topic: str | None = None, *, retain: bool = False, qos: int = 1
    ) -> None:
        """Publish the next event, or something else."""
        if payload is None:
            self.sent += 1
            payload = encode_json(event(self.sent))
        self._client.publish(topic or f"fer-edge/{self.name}/cam0/events", payload, qos, retain)

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


def event(number: int) -> EmotionEvent:
    return EmotionEvent(EventKind.CHANGED, "cam0", time.time(), 1.0, 1, "happy", session="s1", sequence=number)


class Ingest:
    """``fer-edge fleet ingest`` as a process."""

    def __init__(self, folder: Path, broker: Listening, url: str, *words: str) -> None:
        self._log = folder / "ingest.log"
        where = ("--mqtt-host", broker.host, "--mqtt-port", broker.port)
        self._command = command_line("fleet", "ingest", "--database", url, *where, *words)
        self.start()

    def start(self) -> None:
        with self._log.open("a") as log:
            self.process = subprocess.Popen(self._command, stdout=log, stderr=log, env=clean_environment())

    def start_and_wait(self) -> None:
        """Start it and wait until it stores: without a database at that moment, it would end."""
        before = self._log.read_text().count(_STORING)
        self.start()
        wait_for(lambda: self._log.read_text().count(_STORING) > before, 300)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def said(self, words: str) -> bool:
        return words in self._log.read_text()


@contextmanager
def ingesting(folder: Path, broker: Listening, url: str, *words: str) -> Iterator[Ingest]:
    ingest = Ingest(folder, broker, url, *words)
    try:
        wait_for(lambda: ingest.said(SUBSCRIBED))
        yield ingest
    finally:
        ingest.kill()


def read(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def numbers(url: str) -> dict[str, list[int]]:
    """The numbers of each device's events in the order in which they were received."""
    rows = read(url, "SELECT device, sequence FROM fleet.events ORDER BY device, received, sequence")
    return {device: [n for _, n in group] for device, group in itertools.groupby(rows, key=lambda row: row[0])}


def total(url: str) -> int:
    return int(read(url, "SELECT count(*) FROM fleet.events")[0][0])
