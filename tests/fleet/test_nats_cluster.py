"""``fer-edge fleet ingest`` and devices at a cluster of three NATS servers, of which each is killed once."""

from __future__ import annotations

import itertools
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.sinks.base import Pace
from fer_edge.sinks.mqtt.sink import MqttSink
from fer_edge.status import StatusBoard
from support.processes.fleet_ingest import SUBSCRIBED, Ingest, event, read, total
from support.processes.waiting import wait_for
from support.servers.mosquitto import settings_for
from support.servers.nats import Cluster, cluster_addresses, nats_cluster, needs_nats, password_file

pytestmark = [needs_nats, pytest.mark.slow]
DEVICES = ("door", "gate", "yard", "hall")
TESTS = Path(__file__).parents[1]
NUMBERS = "SELECT device, array_agg(sequence ORDER BY sequence) FROM fleet.events GROUP BY device"
RESOLVER = """\
import socket
from support.servers.nats import cluster_addresses
socket.getaddrinfo = cluster_addresses
"""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster whose name is known to this process and to those that it starts."""
    folder = tmp_path / "resolver"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(RESOLVER)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(folder), str(TESTS))))
    monkeypatch.setattr(socket, "getaddrinfo", cluster_addresses)
    with nats_cluster(tmp_path, DEVICES) as running:
        yield running


def sink_of(cluster: Cluster, folder: Path, device: str) -> MqttSink:
    login = {"username": device, "password_file": password_file(folder, device), "home_assistant": False}
    settings = settings_for(cluster.port, host=cluster.host, device=device, **login)
    return MqttSink(settings, StatusBoard(), pace=Pace(live=True))


def test_each_event_is_stored_once_while_each_node_is_killed(tmp_path: Path, cluster: Cluster, database: str) -> None:
    login = ("--username", "fleet", "--password-file", password_file(tmp_path, "fleet"))
    ingest = Ingest(tmp_path, cluster, database, *login)
    sinks = [sink_of(cluster, tmp_path, device) for device in DEVICES]
    sent, done = itertools.count(1), threading.Event()

    def publish() -> None:
        while not done.wait(0.01):
            number = next(sent)
            for sink in sinks:
                sink.emit(event(number))

    def store(more: int) -> None:
        before = total(database)
        wait_for(lambda: total(database) > before + more)

    publisher = threading.Thread(target=publish)
    try:
        wait_for(lambda: ingest.said(SUBSCRIBED))
        wait_for(cluster.is_current)
        publisher.start()
        for node in cluster.nodes:
            store(200)
            node.kill()
            store(200)
            node.start()
            wait_for(cluster.is_current)
        store(200)
        done.set()
        publisher.join()
        last = next(sent) - 1
        wait_for(lambda: all(sink.status().waiting == 0 for sink in sinks))
        wait_for(lambda: total(database) >= last * len(DEVICES))
        assert dict(read(database, NUMBERS)) == {device: [*range(1, last + 1)] for device in DEVICES}
        assert [sink.status().dropped for sink in sinks] == [0] * len(sinks)
        assert all(node.said("with replicas 3 for account") for node in cluster.nodes)
        for sink in sinks:
            sink.close()
    finally:
        done.set()
        ingest.kill()
