"""Devices that flood, share a name, or lack a certificate: nothing of it stops the others, and each is counted."""

from __future__ import annotations

import queue
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion

from fer_edge.sinks.base import Pace
from fer_edge.sinks.mqtt.sink import MqttSink
from fer_edge.status import StatusBoard
from fer_fleet.acl import acl_text
from support.processes.edge_command import fer_edge
from support.processes.fleet_ingest import Device, event, ingesting, numbers, read, total
from support.processes.waiting import wait_for
from support.servers.mosquitto import Broker, needs_mosquitto, settings_for

pytestmark = [needs_mosquitto, pytest.mark.slow]
FLOOD, EVENTS = 3000, 20


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    log = (f"log_dest file {tmp_path}/mosquitto.log", "log_type all")
    running = Broker(tmp_path, "allow_anonymous true", "max_inflight_messages 1000", *log)
    running.start()
    yield running
    running.stop()


def test_a_device_that_floods_is_limited_and_stops_nothing(tmp_path: Path, broker: Broker, database: str) -> None:
    with ingesting(tmp_path, broker, database, "--max-rate", "0.02") as ingest:  # 200 at once
        good, flooding = [Device(broker, name) for name in ("door", "yard")], Device(broker, "flood")
        for _ in range(FLOOD):
            flooding.send()
            flooding.send(b"{", qos=0)
        for _ in range(EVENTS):
            for device in good:
                device.send()
        flooding.send(b"online", "fer-edge/flood/availability")
        counted = "SELECT sum(messages) FROM fleet.rejected WHERE device = 'flood' AND reason = 'rate limit'"
        # The broker may drop those of QoS 0.
        wait_for(lambda: (read(database, counted)[0][0] or 0) > FLOOD - 250)
        wait_for(lambda: read(database, "SELECT device FROM fleet.devices WHERE online") == [("flood",)])
        wait_for(lambda: all(numbers(database).get(device.name) == [*range(1, EVENTS + 1)] for device in good))
        assert not ingest.said("is lost")  # a message of QoS 0 must not be acknowledged
        for device in (*good, flooding):
            device.close()
    stored = total(database) - EVENTS * len(good)
    assert 0 < stored <= 200 + 5  # and what the rate allows in some minutes
    rows = [
        line.split() for line in fer_edge("fleet", "list", "--database", database, cwd=tmp_path).stdout.splitlines()
    ]
    limited = {row[0]: int(row[-2]) for row in rows[1:]}
    assert limited["flood"] > FLOOD - 250 and limited["door"] == limited["yard"] == 0
    shown = fer_edge("fleet", "show", "flood", "--database", database, cwd=tmp_path).stdout
    assert f"rate limit    {limited['flood']}" in shown


def test_two_programs_with_one_name_and_session_are_noticed(tmp_path: Path, broker: Broker, database: str) -> None:
    with ingesting(tmp_path, broker, database):
        door = Device(broker, "door")
        for _ in range(5):
            door.send()
        wait_for(lambda: total(database) == 5)
        copy = Device(broker, "door")  # the broker ends the first one's connection
        for _ in range(6):
            copy.send()
        wait_for(lambda: total(database) == 6)
        wait_for(lambda: read(database, "SELECT reason, messages FROM fleet.rejected") == [("number used twice", 5)])
        door.close()
        copy.close()
    assert numbers(database) == {"door": [*range(1, 7)]}


def certificate(folder: Path, name: str, ca: str = "ca") -> dict[str, str]:
    """Make a certificate of ``name``; of an authority if ``ca`` is the same name."""
    key = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", f"{name}.key")
    subject = ("-subj", f"/CN={name}", "-addext", "subjectAltName=IP:127.0.0.1")
    if name == ca:
        commands = [("req", "-x509", *key, *subject, "-days", "30", "-out", f"{name}.pem")]
    else:
        signed = ("-CA", f"{ca}.pem", "-CAkey", f"{ca}.key", "-CAcreateserial", "-copy_extensions", "copy")
        commands = [
            ("req", *key, *subject, "-out", f"{name}.csr"),
            ("x509", "-req", "-in", f"{name}.csr", *signed, "-days", "30", "-out", f"{name}.pem"),
        ]
    for words in commands:
        subprocess.run(("openssl", *words), cwd=folder, check=True, capture_output=True)
    return {"cert_file": str(folder / f"{name}.pem"), "key_file": str(folder / f"{name}.key")}


def admitted(broker: Broker, ca: str, *certificate_and_key: str) -> bool:
    """Return whether the broker accepts a client with this certificate, or without one."""
    answers: queue.Queue[bool] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2)
    client.tls_set(ca, *certificate_and_key)
    client.on_connect = lambda _client, _data, _flags, code, _properties: answers.put(not code.is_failure)
    client.on_connect_fail = client.on_disconnect = lambda *_: answers.put(False)
    client.connect_async("127.0.0.1", broker.port)
    client.loop_start()
    try:
        return answers.get(timeout=60)
    finally:
        client.disconnect()
        client.loop_stop()


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl: apt-get install openssl")
def test_a_client_certificate_names_the_device(tmp_path: Path, database: str) -> None:
    for authority in ("ca", "other"):
        certificate(tmp_path, authority, authority)
    server, fleet, door = (certificate(tmp_path, name) for name in ("broker", "fleet", "door"))
    stranger = certificate(tmp_path, "yard", "other")
    (tmp_path / "acl").write_text(acl_text("fer-edge", "fleet"))
    identity = ("require_certificate true", "use_identity_as_username true", f"acl_file {tmp_path}/acl")
    files = (f"cafile {tmp_path}/ca.pem", f"certfile {server['cert_file']}", f"keyfile {server['key_file']}")
    log = (f"log_dest file {tmp_path}/mosquitto.log", "log_type all")
    broker = Broker(tmp_path, "allow_anonymous false", *files, *identity, *log)
    broker.start()
    trusted = str(tmp_path / "ca.pem")
    login = ("--ca-file", trusted, "--cert-file", fleet["cert_file"], "--key-file", fleet["key_file"])
    try:
        with ingesting(tmp_path, broker, database, *login):
            own = {"tls": True, "ca_file": trusted, "home_assistant": False, **door}
            sink = MqttSink(settings_for(broker.port, device="door", **own), StatusBoard(), pace=Pace(live=True))
            forged = MqttSink(settings_for(broker.port, device="yard", **own), StatusBoard(), pace=Pace(live=True))
            for files_of in (stranger, {}):
                assert not admitted(broker, trusted, *files_of.values())
            assert admitted(broker, trusted, *door.values())
            for number in (1, 2):
                forged.emit(event(number))
                sink.emit(event(number))
            wait_for(lambda: numbers(database) == {"door": [1, 2]})
            wait_for(lambda: "Denied PUBLISH from fer-edge-yard" in (tmp_path / "mosquitto.log").read_text())
            sink.close()
            forged.close()
        assert read(database, "SELECT device FROM fleet.devices") == [("door",)]
    finally:
        broker.stop()
