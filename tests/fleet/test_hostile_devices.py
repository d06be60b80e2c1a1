"""Devices that flood, share a name, or lack a certificate: nothing of it stops the others, and each is counted."""

from __future__ import annotations

import queue
import re
import shutil
import subprocess
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
GUIDE = (Path(__file__).parents[2] / "docs" / "how-to" / "many-devices.md").read_text()


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


def shown(words: str) -> str:
    """Return the block of the guide that contains ``words``."""
    return next(text for text in re.findall(r"^```\w+\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL) if words in text)


def make_certificates(folder: Path, *more: str) -> None:
    """Run the commands of the guide, for a broker on loopback."""
    folder.mkdir(exist_ok=True)
    script = shown("openssl req -x509").replace("DNS:broker.example.org", "IP:127.0.0.1")
    subprocess.run(("bash", "-euc", "\n".join([script, *more])), cwd=folder, check=True, capture_output=True)


def login(folder: Path, name: str) -> dict[str, str]:
    """Return the settings for a certificate in ``folder``."""
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
    make_certificates(tmp_path)
    make_certificates(tmp_path / "other", "certificate yard")
    fleet, door, stranger = login(tmp_path, "fleet"), login(tmp_path, "door"), login(tmp_path / "other", "yard")
    (tmp_path / "acl").write_text(acl_text("fer-edge", "fleet"))
    lines = f"{shown('acl_file')}{shown('require_certificate')}".replace("/etc/mosquitto/certs", str(tmp_path))
    lines = lines.replace("/etc/mosquitto/fleet.acl", f"{tmp_path}/acl")
    others = ("listener", "password_file", "persistence")  # set by the test, or replaced by certificates
    config = [line for line in lines.splitlines() if not line.startswith(others)]
    broker = Broker(tmp_path, *config, f"log_dest file {tmp_path}/mosquitto.log", "log_type all")
    broker.start()
    trusted = str(tmp_path / "ca.pem")
    options = ("--ca-file", trusted, "--cert-file", fleet["cert_file"], "--key-file", fleet["key_file"])
    try:
        with ingesting(tmp_path, broker, database, *options):
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
