"""MQTT states, Home Assistant discovery and commands, with a real broker."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from fer_edge.settings.service import OutputSettings
from fer_edge.sinks import open_sinks
from fer_edge.sinks.mqtt.home_assistant import Announcement, without_missing
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.status import ModelStatus, SourceState, SourceStatus, StatusBoard, UpdateStatus
from fer_edge.types import Box, EmotionEvent, EventKind, TrackedEmotion
from support.processes.waiting import wait_for
from support.servers.mosquitto import Broker, Listener, needs_mosquitto, running, settings_for, status_of

ROOT = "fer-edge/pi"
EVENTS = f"{ROOT}/cam0/events"
ANNOUNCED = "homeassistant/device/fer-edge_pi/config"


def watching(board: StatusBoard, *tracks: TrackedEmotion, fps: float = 15.0) -> None:
    board.update_source(SourceStatus("cam0", SourceState.WATCHING, fps=fps, tracks=tracks))


def track(number: int, width: int, emotion: str) -> TrackedEmotion:
    return TrackedEmotion("cam0", number, Box(0, 0, width, width), emotion, 0.876, 0.0)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[tuple[Broker, Listener]]:
    with running(tmp_path) as both:
        yield both


@needs_mosquitto
def test_home_assistant_discovery_is_published_again_after_its_birth_message(broker: tuple[Broker, Listener]) -> None:
    server, listener = broker
    board = StatusBoard()
    board.set_model(ModelStatus("tiny", "1.0.0", "int8", ("happy", "sad")))
    watching(board)
    with open_sinks(settings_for(server.port), board, live=True):
        wait_for(lambda: listener.on(ANNOUNCED))
        wait_for(lambda: listener.on(f"{ROOT}/cam0/state"))
        payload = json.loads(listener.on(ANNOUNCED)[0])
        components = payload["components"]
        names = "emotion", "confidence", "faces", "occupancy", "event", "connected", "problem", "fps", "watch"
        assert set(components) == {*(f"cam0_{name}" for name in names), "temperature", "throttled"}
        assert len({component["unique_id"] for component in components.values()}) == 11
        assert components["cam0_emotion"]["state_topic"] == f"{ROOT}/cam0/state"
        assert payload["availability"] == [{"topic": f"{ROOT}/availability"}]
        listener.publish("homeassistant/status", b"online")
        wait_for(lambda: len(listener.on(ANNOUNCED)) == 2)
    # Without discovery, what was retained is removed.
    with open_sinks(settings_for(server.port, home_assistant=False), board, live=True):
        wait_for(lambda: listener.on(ANNOUNCED)[2:] == [b""])


@needs_mosquitto
def test_sources_are_paused_by_commands_that_are_obeyed_if_they_may(broker: tuple[Broker, Listener]) -> None:
    server, listener = broker
    board = StatusBoard()
    watching(board)
    paused = board.pause_of("cam0")
    with open_sinks(settings_for(server.port), board, live=True):
        wait_for(lambda: status_of(board).working)
        for payload in (b"off", b"OFF ", b"\xff", b""):
            listener.publish(f"{ROOT}/cam0/watch/set", payload)
        listener.publish(f"{ROOT}/other/watch/set", b"OFF")
        time.sleep(0.5)
        assert not paused.is_set()
        listener.publish(f"{ROOT}/cam0/watch/set", b"OFF")
        wait_for(paused.is_set)
        listener.publish(f"{ROOT}/cam0/watch/set", b"ON")
        wait_for(lambda: not paused.is_set())
    with open_sinks(settings_for(server.port, commands=False), board, live=True):
        wait_for(lambda: status_of(board).working)
        listener.publish(f"{ROOT}/cam0/watch/set", b"OFF")
        time.sleep(0.5)
        assert not paused.is_set()


@needs_mosquitto
def test_states_of_sources_that_are_gone_are_removed(broker: tuple[Broker, Listener]) -> None:
    server, listener = broker
    for topic in ("gone/state", "gone/counts", "cam0/state"):
        listener.publish(f"{ROOT}/{topic}", b"{}", retain=True)
    board = StatusBoard()
    watching(board)
    with open_sinks(settings_for(server.port), board, live=True):
        wait_for(lambda: listener.on(f"{ROOT}/gone/state")[1:] == [b""])
        wait_for(lambda: listener.on(f"{ROOT}/gone/counts")[1:] == [b""])
        wait_for(lambda: len(listener.on(f"{ROOT}/cam0/state")) >= 2)
        assert b"" not in listener.on(f"{ROOT}/cam0/state")


@needs_mosquitto
def test_each_zone_has_an_occupancy_sensor(broker: tuple[Broker, Listener]) -> None:
    server, listener = broker
    board = StatusBoard()
    board.update_source(
        SourceStatus(
            "cam0",
            SourceState.WATCHING,
            tracks=(dataclasses.replace(track(1, 50, "sad"), zone="desk"),),
            zones=("desk", "way out"),
        )
    )
    with open_sinks(settings_for(server.port), board, live=True):
        wait_for(lambda: listener.on(ANNOUNCED))
        wait_for(lambda: listener.on(f"{ROOT}/cam0/state"))
    assert json.loads(listener.on(f"{ROOT}/cam0/state")[0])["zones"] == {"desk": 1, "way out": 0}
    components = json.loads(listener.on(ANNOUNCED)[0])["components"]
    zones = [component for key, component in components.items() if "_zone_" in key]
    assert [(zone["device_class"], zone["name"]) for zone in zones] == [
        ("occupancy", "cam0 desk occupancy"),
        ("occupancy", "cam0 way out occupancy"),
    ]


@needs_mosquitto
def test_home_assistant_shows_a_new_version_of_the_model(broker: tuple[Broker, Listener]) -> None:
    server, listener = broker
    board = StatusBoard()
    board.set_model(ModelStatus("tiny", "1.1.0", "int8", ("happy", "sad")))
    watching(board)
    topic = f"{ROOT}/update"
    with open_sinks(settings_for(server.port), board, live=True):
        wait_for(lambda: listener.on(f"{ROOT}/cam0/state"))
        assert not listener.on(topic)  # updates are off
        board.set_update(UpdateStatus("settled", problem="http://u:pw@host: too slow" + 300 * "!"))
        wait_for(lambda: listener.on(topic))
        wait_for(lambda: "update" in json.loads(listener.on(ANNOUNCED)[-1])["components"])
        entity = json.loads(listener.on(ANNOUNCED)[-1])["components"]["update"]
        assert (entity["platform"], entity["state_topic"]) == ("update", topic)
        first = json.loads(listener.on(topic)[0])
        assert (first["installed_version"], first["latest_version"], first["in_progress"]) == ("1.1.0", "1.1.0", False)
        assert "pw" not in first["release_summary"] and len(first["release_summary"]) == 255
        board.set_update(UpdateStatus("shadow", "1.2.0", "1.2.0"))
        wait_for(lambda: len(listener.on(topic)) == 2)
        second = json.loads(listener.on(topic)[1])
        assert (second["latest_version"], second["in_progress"]) == ("1.2.0", True)


@given(st.recursive(st.none() | st.text() | st.integers(), lambda inner: st.dictionaries(st.text(), inner)))
def test_whatever_was_retained_as_an_announcement_is_survived(before: object) -> None:
    current = Announcement("homeassistant").payload(Topics("a", "b", aggregate=False), ModelStatus(), {"cam0": ()})
    assert without_missing(before, current) is None
    assert without_missing({"components": before}, current) is None


@needs_mosquitto
def test_aggregate_publishes_no_person_and_no_moment(broker: tuple[Broker, Listener]) -> None:
    server, listener = broker
    board = StatusBoard("aggregate")
    watching(board, track(7, 50, "sad"))  # by mistake
    settings = structs.replace(settings_for(server.port), output=OutputSettings(privacy="aggregate", aggregate_s=1.0))
    with open_sinks(settings, board, live=True) as sinks:
        sinks.emit(EmotionEvent(EventKind.APPEARED, "cam0", 1.7e9, 1.0, 7, "sad", None, 0.8))
        wait_for(lambda: len(listener.on(f"{ROOT}/cam0/counts")) >= 2)
        sinks.emit(EmotionEvent(EventKind.LEFT, "cam0", 1.7e9, 2.0, 7, None, "sad"))
    wait_for(lambda: listener.on(f"{ROOT}/availability")[-1:] == [b"offline"])
    assert {json.loads(line)["kind"] for line in listener.on(EVENTS)} == {"counts"}
    assert set(json.loads(listener.on(f"{ROOT}/cam0/state")[-1])) == {"state", "reason", "fps"}
    (announced,) = {payload for topic, payload, _ in listener.messages if topic.endswith("/config")}
    ours = {"appeared", "max_at_once", "connected", "problem", "fps", "watch"}
    assert set(json.loads(announced)["components"]) == {*(f"cam0_{name}" for name in ours), "temperature", "throttled"}
    for topic, payload, _ in listener.messages:
        assert b'"track":7' not in payload, topic
