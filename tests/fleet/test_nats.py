"""``fer-edge fleet ingest`` with NATS as the broker, configured by the example of the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.sinks.base import Pace
from fer_edge.sinks.mqtt.sink import MqttSink
from fer_edge.status import StatusBoard
from support.processes.fleet_ingest import SUBSCRIBED, Ingest, event, read, total
from support.processes.waiting import wait_for
from support.servers.mosquitto import settings_for
from support.servers.nats import Nats, nats_server, needs_nats, password_file

pytestmark = [needs_nats, pytest.mark.slow]
SEQUENCES = "SELECT sequence FROM fleet.events WHERE device = 'door' ORDER BY sequence"
CONSUMERS = "jetstream/jetstream/$G/streams/$MQTT_msgs/obs/*"
SESSION = "SELECT last, stored FROM fleet.sessions WHERE device = 'door'"


@pytest.fixture
def nats(tmp_path: Path) -> Iterator[Nats]:
    server = nats_server(tmp_path)
    server.start()
    yield server
    server.kill()


def sink_of(nats: Nats, folder: Path, device: str = "door") -> MqttSink:
    login = {"username": "door", "password_file": password_file(folder, "door"), "home_assistant": False}
    return MqttSink(settings_for(nats.port, device=device, **login), StatusBoard(), pace=Pace(live=True))


def test_each_event_is_stored_once_while_nats_and_ingest_are_killed(tmp_path: Path, nats: Nats, database: str) -> None:
    login = ("--username", "fleet", "--password-file", password_file(tmp_path, "fleet"))
    ingest = Ingest(tmp_path, nats, database, *login)
    sink = sink_of(nats, tmp_path)
    numbers = iter(range(1, 10_000))

    def emit(count: int) -> int:
        for _ in range(count):
            last = next(numbers)
            sink.emit(event(last))
        return last

    try:
        wait_for(lambda: ingest.said(SUBSCRIBED))
        wait_for(lambda: read(database, "SELECT online FROM fleet.devices WHERE device = 'door'") == [(True,)])
        last = emit(50)
        wait_for(lambda: total(database) == last)
        assert len([*tmp_path.glob(CONSUMERS)]) == 4  # of ingest; devices need none
        ingest.kill()
        emit(200)
        ingest.start()
        last = emit(50)
        wait_for(lambda: total(database) == last)
        emit(100)
        nats.kill()
        emit(100)
        nats.start()
        last = emit(100)
        wait_for(lambda: total(database) == last)
        emit(20)
        ingest.kill()
        nats.kill()
        nats.start()
        ingest.start()
        last = emit(20)
        wait_for(lambda: total(database) == last)
        assert [row[0] for row in read(database, SEQUENCES)] == [*range(1, last + 1)]
        assert read(database, SESSION) == [(last, last)]
        sink.close()
        wait_for(lambda: read(database, "SELECT online FROM fleet.devices WHERE device = 'door'") == [(False,)])
        assert read(database, "SELECT device, reason FROM fleet.rejected") == []
    finally:
        ingest.kill()


def test_nats_refuses_a_forged_name(tmp_path: Path, nats: Nats, database: str) -> None:
    ingest = Ingest(
        tmp_path, nats, database, "--username", "fleet", "--password-file", password_file(tmp_path, "fleet")
    )
    try:
        wait_for(lambda: ingest.said(SUBSCRIBED))
        forged, sink = sink_of(nats, tmp_path, "yard"), sink_of(nats, tmp_path)
        forged.emit(event(1))
        wait_for(lambda: nats.said("fer-edge.yard"))  # in a line about the permission
        sink.emit(event(1))
        wait_for(lambda: total(database) == 1)
        sink.close()
        forged.close()
        assert read(database, "SELECT device FROM fleet.devices") == [("door",)]
    finally:
        ingest.kill()
