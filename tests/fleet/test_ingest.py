"""Devices, broker, ingest and database as processes, each of which fails."""

from __future__ import annotations

import itertools
import json
import signal
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fer_edge import __version__
from fer_edge.commands.cli import main
from fer_edge.sinks.base import Pace
from fer_edge.sinks.event_json import encode_json
from fer_edge.sinks.mqtt.sink import MqttSink
from fer_edge.status import StatusBoard
from fer_fleet.database import Database
from fer_fleet.messages import parse
from support.processes.edge_command import fer_edge
from support.processes.fleet_ingest import Device, event, ingesting, numbers, read, total
from support.processes.waiting import wait_for
from support.servers.mosquitto import Broker, needs_mosquitto, settings_for
from support.servers.postgresql import PostgreSql

pytestmark = needs_mosquitto
PACE = Pace(live=True)


def test_every_event_is_stored_once_and_in_order_while_everything_fails(
    tmp_path: Path, broker: Broker, server: PostgreSql, database: str
) -> None:
    with ingesting(tmp_path, broker, database) as ingest:
        # The sink of a real device: it sends again, in order, what the broker has not acknowledged.
        names = [f"camera{number}" for number in range(4)]
        sinks = [MqttSink(settings_for(broker.port, device=name), StatusBoard(), pace=PACE) for name in names]
        sent = itertools.count(1)
        done = threading.Event()

        def publish() -> None:
            while not done.wait(0.005):
                number = next(sent)
                for sink in sinks:
                    sink.emit(event(number))

        publisher = threading.Thread(target=publish)
        publisher.start()
        try:
            for _ in range(3):
                before = total(database)
                wait_for(lambda before=before: total(database) > before + 50)
                ingest.kill()
                ingest.start()
            before = total(database)
            wait_for(lambda: total(database) > before)
            server.stop()
            wait_for(lambda: ingest.said("cannot store events, trying again"))
            time.sleep(1)  # events gather at the broker
            server.start()
            before = total(database)
            wait_for(lambda: total(database) > before + 50)
            broker.shut_down()
            wait_for(lambda: ingest.said("the connection to the broker is lost"))
            broker.start()
            wait_for(lambda: ingest.said("connected again"))
            ingest.kill()
            ingest.start()
        finally:
            done.set()
            publisher.join()
        wait_for(lambda: all(sink.status().waiting == 0 for sink in sinks))
        assert [sink.status().dropped for sink in sinks] == [0] * len(sinks)
        for sink in sinks:
            sink.close()
        numbers_sent = [*range(1, next(sent))]
        expected = dict.fromkeys(names, numbers_sent)
        wait_for(lambda: total(database) >= sum(map(len, expected.values())))
        assert numbers(database) == expected
        assert read(database, "SELECT device FROM fleet.rejected") == []
        assert read(database, "SELECT device FROM fleet.states ORDER BY device") == [(name,) for name in names]
        ingest.process.send_signal(signal.SIGTERM)
        assert ingest.process.wait(30) == 0
        assert not ingest.said("Traceback")
    listed = json.loads(fer_edge("fleet", "list", "--database", database, "--json", cwd=tmp_path).stdout)
    assert {device["device"]: device["events"] for device in listed} == {n: len(all_) for n, all_ in expected.items()}
    assert {(device["dropped"], device["online"], device["version"]) for device in listed} == {(0, False, __version__)}


def test_bad_input_is_counted_while_others_continue(tmp_path: Path, broker: Broker, database: str) -> None:
    bad = {
        "invalid JSON": b"{",
        "too large": b"x" * 1_000_000,
        "not in the format": b'{"v": 2}',
        "null character": b'{"v": "\\u0000"}',
        "no session": b'{"v": 1, "kind": "left", "source": "a", "track": 1, "emotion": null, "previous": null,'
        b' "confidence": null, "at": "2026-01-01T12:00:00Z", "mono": 1.0}',
    }
    with ingesting(tmp_path, broker, database):
        good, odd = Device(broker, "good"), Device(broker, "odd")
        good.send(b"online", "fer-edge/good/availability", retain=True)
        about = {"v": 1, "name": "good", "version": "0.1.0", "model": {"name": "s", "version": "1.0"}}
        good.send(json.dumps(about).encode(), "fer-edge/good/$description", retain=True)
        odd.send(json.dumps(about).encode(), "fer-edge/odd/$description", retain=True)
        for payload in bad.values():
            good.send()
            odd.send(payload)
        good.send()
        wait_for(lambda: total(database) == 6 and len(read(database, "SELECT FROM fleet.rejected")) == 6)
        good.close()
        odd.close()
        rejected = dict(read(database, "SELECT reason, messages FROM fleet.rejected WHERE device = 'odd'"))
        assert rejected == {**dict.fromkeys(bad, 1), "device differs from the topic": 1}
        shown = fer_edge("fleet", "list", "--database", database, cwd=tmp_path).stdout.splitlines()
    assert shown[0].split()[-4:] == ["events", "dropped", "limited", "rejected"]
    assert shown[1].split()[:5] == ["good", "yes", "0.1.0", "s", "1.0"]
    assert shown[1].split()[-4:] == ["6", "0", "0", "0"]
    assert shown[2].split()[:2] == ["odd", "-"] and shown[2].split()[-4:] == ["0", "0", "0", "6"]


def test_the_broker_refuses_a_forged_name(tmp_path: Path, database: str) -> None:
    (tmp_path / "acl").write_text(fer_edge("fleet", "acl", cwd=tmp_path).stdout)
    for number, name in enumerate(("door", "yard", "fleet")):
        create = ("-c",) if number == 0 else ()
        words = ["mosquitto_passwd", *create, "-b", str(tmp_path / "users"), name, "secret"]
        subprocess.run(words, check=True, capture_output=True)
    (tmp_path / "password").write_text("secret\n")
    (tmp_path / "password").chmod(0o600)
    files = (f"password_file {tmp_path}/users", f"acl_file {tmp_path}/acl")
    broker = Broker(tmp_path, "allow_anonymous false", *files)
    broker.start()
    try:
        login = ("--username", "fleet", "--password-file", str(tmp_path / "password"))
        with ingesting(tmp_path, broker, database, *login):
            as_yard = {"username": "yard", "password_file": str(tmp_path / "password"), "home_assistant": False}
            yard = MqttSink(settings_for(broker.port, device="yard", **as_yard), StatusBoard(), pace=PACE)
            online = "SELECT device, online FROM fleet.devices ORDER BY device"
            wait_for(lambda: read(database, online) == [("yard", True)])
            door = Device(broker, "door", "secret")
            door.send(topic="fer-edge/yard/cam0/events")
            door.send(b"offline", "fer-edge/yard/availability", retain=True)
            door.send()
            yard.emit(event(1))
            wait_for(lambda: total(database) == 2)
            assert read(database, online) == [("door", None), ("yard", True)]
            door.close()
            yard.close()
        assert numbers(database) == {"door": [2], "yard": [1]}
    finally:
        broker.stop()


def test_days_that_are_not_kept_are_deleted(tmp_path: Path, broker: Broker, database: str) -> None:
    opened = Database(database)
    now = datetime.now(UTC)
    for number, age in ((1, 40), (2, 3)):
        message = parse("fer-edge/door/cam0/events", encode_json(event(number)), now, base="fer-edge")
        opened.store([message], now.date() - timedelta(days=age))
    opened.close()
    with ingesting(tmp_path, broker, database, "--keep-days", "30"):
        wait_for(lambda: numbers(database) == {"door": [2]})
        again = Device(broker, "door")
        again.send()
        wait_for(lambda: read(database, "SELECT reason, messages FROM fleet.rejected") == [("expired", 1)])
        again.close()
    assert numbers(database) == {"door": [2]}


def test_wrong_options_are_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    there = ("--database", "postgresql://nobody@127.0.0.1:9/none")
    for words, code, part in (
        (("ingest", "--database", "mysql://a/b"), 2, "--database: must be postgresql://"),
        (("ingest", *there), 6, "--database: cannot use it"),
        (("ingest", *there, "--topic", "a/#"), 2, "--topic: must be a topic without + and #"),
        (("ingest", *there, "--cert-file", "x"), 2, "--cert-file and --key-file"),
        (("ingest", *there, "--password-file", "x"), 2, "--password-file: needs --username"),
        (("ingest", *there, "--mqtt-host", "a..b"), 2, "--mqtt-host: not a host name"),
        (("acl", "--consumer", "a\nb"), 2, "--consumer: must be a user name"),
    ):
        assert main(["fleet", *words]) == code
        line = capsys.readouterr().err
        assert line.startswith("fer-edge: ") and line.count("\n") == 1 and part in line, line
