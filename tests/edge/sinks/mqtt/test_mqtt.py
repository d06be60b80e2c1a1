"""MQTT with a real broker: messages, outages, refusals, and servers that hang."""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from paho.mqtt.client import MQTT_ERR_NO_CONN, Client
from paho.mqtt.enums import CallbackAPIVersion

from fer_edge.sinks import open_sinks
from fer_edge.sinks.base import Pace
from fer_edge.sinks.mqtt.home_assistant import Announcement
from fer_edge.sinks.mqtt.sink import MqttSink
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.status import ChipStatus, ModelStatus, SourceState, SourceStatus, StatusBoard
from fer_edge.types import UNCERTAIN, Box, TrackedEmotion
from support.processes.edge_command import clean_environment, command_line
from support.processes.waiting import wait_for
from support.results.events import numbered, numbers_of
from support.servers.loopback import free_port, port_of, silent_server
from support.servers.mosquitto import Broker, Listener, needs_mosquitto, running, settings_for, status_of

ROOT = "fer-edge/pi"
EVENTS = f"{ROOT}/cam0/events"


def watching(board: StatusBoard, *tracks: TrackedEmotion, fps: float = 15.0) -> None:
    board.update_source(SourceStatus("cam0", SourceState.WATCHING, fps=fps, tracks=tracks))


def track(number: int, width: int, emotion: str) -> TrackedEmotion:
    return TrackedEmotion("cam0", number, Box(0, 0, width, width), emotion, 0.876, 0.0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Broker, Listener]]:
    with running(tmp_path) as both:
        yield both


@needs_mosquitto
def test_events_and_states_reach_a_broker(broker: tuple[Broker, Listener]) -> None:
    server, listener = broker
    board = StatusBoard()
    watching(board, track(1, 50, "sad"), track(2, 90, "happy"))
    board.set_chip(ChipStatus(61.24, ("frequency capped",)))
    with open_sinks(settings_for(server.port), board, live=True) as sinks:
        for number in range(100):
            sinks.emit(numbered(number))
        wait_for(lambda: len(listener.on(EVENTS)) == 100)
        wait_for(lambda: listener.on(f"{ROOT}/cam0/state"))
        assert json.loads(listener.on(EVENTS)[0])["emotion"] == "happy"
        near = {"state": "watching", "reason": None, "fps": 15, "faces": 2, "emotion": "happy", "confidence": 0.9}
        assert json.loads(listener.on(f"{ROOT}/cam0/state")[-1]) == near
        device = {"fps": 15, "temperature": 61, "throttled": ["frequency capped"]}
        assert json.loads(listener.on(f"{ROOT}/state")[-1]) == device
        count = len(listener.on(f"{ROOT}/cam0/state"))
        watching(board, track(1, 50, UNCERTAIN))
        wait_for(lambda: len(listener.on(f"{ROOT}/cam0/state")) > count)
        assert json.loads(listener.on(f"{ROOT}/cam0/state")[-1])["confidence"] is None
        board.update_source(SourceStatus("cam0", SourceState.DARK, fps=1.0))
        night = {"state": "dark", "reason": None, "fps": 1, "faces": 0, "emotion": None, "confidence": None}
        wait_for(lambda: json.loads(listener.on(f"{ROOT}/cam0/state")[-1]) == night)
        wait_for(lambda: status_of(board).sent == 100)
        assert status_of(board).working and status_of(board).waiting == 0
        board.update_source(SourceStatus("cam0", SourceState.ENDED))
    wait_for(lambda: listener.on(f"{ROOT}/availability") == [b"online", b"offline"])
    assert numbers_of(listener.on(EVENTS)) == list(range(100))
    assert json.loads(listener.on(f"{ROOT}/cam0/state")[-1])["state"] == "ended"  # no stale emotion
    late = Listener(server, "late")
    kept = {f"{ROOT}/availability", f"{ROOT}/state", f"{ROOT}/cam0/state"}
    wait_for(lambda: kept <= {topic for topic, _, _ in late.messages})
    late.close()
    assert all(retained for _, _, retained in late.messages)
    assert EVENTS not in {topic for topic, _, _ in late.messages}


@needs_mosquitto
def test_an_outage_loses_nothing_and_keeps_the_order(
    broker: tuple[Broker, Listener], capfd: pytest.CaptureFixture[str]
) -> None:
    server, listener = broker
    board = StatusBoard()
    with open_sinks(settings_for(server.port), board, live=True) as sinks:
        for number in range(300):
            sinks.emit(numbered(number))
        wait_for(lambda: len(listener.on(EVENTS)) > 50)
        server.kill()  # with messages in flight
        wait_for(lambda: not status_of(board).working)
        for number in range(300, 600):
            sinks.emit(numbered(number))
        assert status_of(board).waiting >= 300
        server.start()
        wait_for(lambda: numbers_of(listener.on(EVENTS))[-1:] == [599])
        wait_for(lambda: status_of(board).waiting == 0)
        assert status_of(board).dropped == 0
    numbers = numbers_of(listener.on(EVENTS))
    firsts = list(dict.fromkeys(numbers))
    # The listener may miss messages that the broker acknowledged just before it was killed. Messages that it did not
    # acknowledge are sent again, in order.
    assert firsts == sorted(firsts) and set(range(300, 600)) <= set(firsts)
    lines = capfd.readouterr().err.splitlines()
    assert len(lines) <= 4 and all(line.startswith("fer-edge: mqtt: 127.0.0.1:") for line in lines)
    assert lines[-1].endswith("connected")


@needs_mosquitto
def test_the_last_will_is_published_when_the_process_is_killed(tmp_path: Path) -> None:
    with running(tmp_path) as (server, listener):
        config = tmp_path / "config.toml"
        config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {server.port}\ndevice = "pi"\n')
        command = command_line("run", "demo", "--realtime", "--config", config)
        process = subprocess.Popen(command, env=clean_environment(), stdout=subprocess.DEVNULL)
        wait_for(lambda: listener.on(f"{ROOT}/demo/events"))
        process.kill()
        process.wait()
        wait_for(lambda: listener.on(f"{ROOT}/availability") == [b"online", b"offline"])


def test_a_service_without_its_broker_ends_in_time(tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[mqtt]\nhost = "127.0.0.1"\nport = {free_port()}\n[emotion]\nheartbeat_s = 0.2\n')
    command = command_line("run", "demo", "--realtime", "--events", "events.jsonl", "--config", config)
    environment, quiet = clean_environment(), subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=quiet, stderr=subprocess.PIPE, text=True)
    events = tmp_path / "events.jsonl"
    wait_for(lambda: events.exists() and events.read_bytes().count(b"\n") >= 5)
    began = time.monotonic()
    process.terminate()
    _, printed = process.communicate(timeout=60)
    assert (process.returncode, printed.count("\n")) == (0, 2)
    assert time.monotonic() - began < 30
    assert "Connection refused" in printed and "messages were lost" in printed


@needs_mosquitto
def test_a_long_outage_drops_the_oldest_events_and_counts_them(tmp_path: Path) -> None:
    server = Broker(tmp_path)
    board = StatusBoard()
    try:
        with open_sinks(settings_for(server.port, max_queued_messages=50), board, live=True) as sinks:
            for number in range(120):
                sinks.emit(numbered(number))
            assert (status_of(board).waiting, status_of(board).dropped) == (50, 70)
            server.start()
            listener = Listener(server)
            wait_for(lambda: status_of(board).waiting == 0)
            listener.close()
        assert (status_of(board).sent, status_of(board).dropped) == (50, 70)
    finally:
        server.stop()


@needs_mosquitto
def test_closing_does_not_wait_for_the_next_attempt_when_the_broker_is_back(tmp_path: Path) -> None:
    server, board = Broker(tmp_path), StatusBoard()
    sink = MqttSink(settings_for(server.port), board, pace=Pace(live=True, drain_s=1.0))
    try:
        time.sleep(4)  # refused three times: the next attempt is more than a second away
        for number in range(20):
            sink.emit(numbered(number))
        server.start()
        listener = Listener(server)
        sink.close()
        wait_for(lambda: len(listener.on(EVENTS)) == 20)
        listener.close()
    finally:
        server.stop()


@needs_mosquitto
def test_a_file_source_waits_for_the_broker(tmp_path: Path) -> None:
    with running(tmp_path) as (server, listener):
        board = StatusBoard()
        with open_sinks(settings_for(server.port, max_queued_messages=10), board, live=False) as sinks:
            for number in range(200):
                sinks.emit(numbered(number))
                assert status_of(board).waiting <= 10
        wait_for(lambda: len(listener.on(EVENTS)) == 200)
        assert numbers_of(listener.on(EVENTS)) == list(range(200))


@given(st.text(min_size=1))
def test_any_name_makes_one_level_of_a_topic(name: str) -> None:
    topic = Topics("fer-edge", name, aggregate=False).of(name, "events")
    assert topic.count("/") == 3 and not set(topic) & set("+#\0")
    client = Client(CallbackAPIVersion.VERSION2)
    assert client.publish(topic, b"").rc == MQTT_ERR_NO_CONN  # and not refused as a topic
    announced = Announcement("homeassistant").payload(
        Topics("a", name, aggregate=False), ModelStatus(labels=("happy",)), {name: ()}
    )
    assert len(announced["components"]) == 11


@needs_mosquitto
def test_two_clients_with_the_same_name_are_reported(
    broker: tuple[Broker, Listener], capfd: pytest.CaptureFixture[str]
) -> None:
    board = StatusBoard()
    with open_sinks(settings_for(broker[0].port), board, live=True):
        wait_for(lambda: status_of(board).working)
        with open_sinks(settings_for(broker[0].port), StatusBoard(), live=True):
            wait_for(lambda: "another client" in str(status_of(board).problem))
    assert "is another client named fer-edge-pi? Set mqtt.device" in capfd.readouterr().err


def test_a_file_without_its_broker_can_be_stopped(tmp_path: Path, clip: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(
        f'[mqtt]\nhost = "127.0.0.1"\nport = {free_port()}\nmax_queued_messages = 1\n[emotion]\nheartbeat_s = 0.1\n'
    )
    command = command_line("run", clip, "--events", "events.jsonl", "--config", config)
    environment, quiet = clean_environment(), subprocess.DEVNULL
    process = subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=quiet, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: (tmp_path / "events.jsonl").exists() and (tmp_path / "events.jsonl").read_bytes())
    process.terminate()
    _, printed = process.communicate(timeout=60)
    assert process.returncode == 6
    assert printed.splitlines()[-1].endswith("1 message was lost")


@pytest.mark.slow
@needs_mosquitto
def test_a_broker_that_hangs_is_noticed(tmp_path: Path) -> None:
    with running(tmp_path) as (server, listener):
        board = StatusBoard()
        with open_sinks(settings_for(server.port), board, live=True) as sinks:
            wait_for(lambda: status_of(board).working)
            server.freeze()
            sinks.emit(numbered(1))
            wait_for(lambda: not status_of(board).working)  # after twice the keepalive of 5 s
            assert "lost" in str(status_of(board).problem)
            server.thaw()
            wait_for(lambda: status_of(board).sent == 1)
        # The broker acknowledges an event before it forwards it.
        wait_for(lambda: 1 in numbers_of(listener.on(EVENTS)))


@pytest.mark.slow
def test_a_server_that_never_answers_and_an_unknown_host_are_reported(capfd: pytest.CaptureFixture[str]) -> None:
    silent, unknown = StatusBoard(), StatusBoard()
    with silent_server() as server, open_sinks(settings_for(port_of(server)), silent, live=True) as sinks:
        with open_sinks(settings_for(1883, host="broker.invalid"), unknown, live=True) as others:
            for _ in range(20):
                began = time.monotonic()
                sinks.emit(numbered(1))
                others.emit(numbered(1))
                assert time.monotonic() - began < 5  # emitting never blocks
            wait_for(lambda: "cannot connect" in str(status_of(unknown).problem))
            wait_for(lambda: "does not answer" in str(status_of(silent).problem))
            sinks.start_closing()
        assert (status_of(silent).working, status_of(unknown).working) == (False, False)
    assert (status_of(silent).dropped, status_of(unknown).dropped) == (20, 20)
    printed = capfd.readouterr().err
    assert "does not answer as an MQTT broker does" in printed
    assert printed.count("20 messages were lost") == 2 and printed.count("\n") == 4


ACCEPTED = b"\x20\x02\x00\x00"


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n",
        ACCEPTED + b"\x30\xff\xff\xff\xff\xff" + bytes(64),  # an endless length field
        ACCEPTED + b"\x32\x03\x00\x09x",  # a message shorter than its topic
        ACCEPTED + b"\x90\x00" + b"\x40\x01\x00" + b"\xff" * 64,
        ACCEPTED + b"\x30\x06\x00\x02\xff\xfehi",  # a topic that is not UTF-8
        ACCEPTED[:-2],
        b"\x20\x02\x00\x01",  # refuses the protocol's version; paho then tries an older one
    ],
)
def test_a_server_that_does_not_speak_mqtt_is_retried(answer: bytes) -> None:
    board, connections = StatusBoard(), []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:  # the server is closed
                return
            connections.append(connection)
            with suppress(OSError):  # the client closed this connection first; serve the next one
                connection.recv(1000)
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)

    with socket.create_server(("127.0.0.1", 0)) as server:
        threading.Thread(target=serve, daemon=True).start()
        sink = MqttSink(settings_for(port_of(server)), board, pace=Pace(live=True, drain_s=0.5))
        wait_for(lambda: len(connections) >= 2)
        sink.close()
    for connection in connections:
        connection.close()


def test_a_host_name_that_cannot_be_encoded_is_an_outage(capfd: pytest.CaptureFixture[str]) -> None:
    board = StatusBoard()
    with open_sinks(settings_for(1883, host="pi..local"), board, live=True):
        wait_for(lambda: "cannot connect" in str(status_of(board).problem))
        time.sleep(2.5)  # retried, but not reported again
    assert capfd.readouterr().err.count("\n") == 1


@needs_mosquitto
def test_a_failure_in_the_network_thread_is_an_outage(
    broker: tuple[Broker, Listener], monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    server, listener = broker
    board = StatusBoard()
    with open_sinks(settings_for(server.port), board, live=True) as sinks:
        wait_for(lambda: status_of(board).working)
        with monkeypatch.context() as patch:
            patch.setattr(Topics, "states", lambda *_: 1 // 0)
            wait_for(lambda: "ZeroDivisionError" in str(status_of(board).problem))
            sinks.emit(numbered(1))
        wait_for(lambda: status_of(board).sent == 1)
        assert status_of(board).working
    assert [line.endswith("connected") for line in capfd.readouterr().err.splitlines()] == [False, True]
    wait_for(lambda: numbers_of(listener.on(EVENTS)) == [1])
