"""A device in a real Home Assistant: its entities, their states, the switch that pauses a camera."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from fer_edge.update.store import Store
from home_assistant.server import HomeAssistant, needs_home_assistant
from support.cameras.mjpeg_server import MjpegServer, mjpeg_server
from support.processes.daemon import running_daemon
from support.processes.waiting import wait_for
from support.servers.mosquitto import Broker, Listener, needs_mosquitto

pytestmark = [needs_home_assistant, needs_mosquitto]
FACE_ENTITIES = {
    *(f"sensor.hall_door_{what}" for what in ("emotion", "faces", "confidence")),
    *("binary_sensor.hall_door_occupancy", "event.hall_door_event"),
}


@pytest.fixture(scope="module")
def camera() -> Iterator[MjpegServer]:
    with mjpeg_server() as running:
        yield running


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    (tmp_path / "broker").mkdir()
    broker = Broker(tmp_path / "broker")
    broker.start()
    yield broker
    broker.stop()


@pytest.fixture
def home(tmp_path: Path, broker: Broker) -> Iterator[HomeAssistant]:
    (tmp_path / "home").mkdir()
    with HomeAssistant(tmp_path / "home", broker.port) as home:
        home.start()
        yield home


def config(broker: Broker, cameras: dict[str, str], more: str = "") -> str:
    tables = "".join(f'[cameras.{name}]\nuri = "{uri}"\n' for name, uri in cameras.items())
    return f"""
{tables}
[recovery]
reconnect = true
retry_min_s = 0.2
retry_max_s = 1.0
[mqtt]
host = "127.0.0.1"
port = {broker.port}
device = "hall"
area = "Entrance"
{more}
[output]
events = "events.jsonl"
"""


def folder_of(tmp_path: Path, name: str) -> Path:
    folder = tmp_path / name
    folder.mkdir()
    return folder


def test_entities_have_the_documented_classes_and_states(
    tmp_path: Path, broker: Broker, home: HomeAssistant, camera: MjpegServer
) -> None:
    page = '[web]\nenabled = true\nhost = "0.0.0.0"\nport = 18765\ntoken_file = "token"\n'
    zones = '[cameras.door.zones]\n"all of it" = [0.0, 0.05, 1.0, 0.95]\nedge = [0.0, 0.0, 1.0, 0.05]\n'
    folder = folder_of(tmp_path, "device")
    (folder / "token").write_text("0123456789abcdef")
    (folder / "token").chmod(0o600)
    with running_daemon(folder, config(broker, {"door": camera.url("moody")}) + page + zones) as daemon:
        emotion = home.wait_for_state("sensor.hall_door_emotion", "happy")
        assert emotion["attributes"]["device_class"] == "enum"
        assert set(emotion["attributes"]["options"]) >= {"happy", "neutral", "uncertain"}
        occupancy = home.wait_for_state("binary_sensor.hall_door_occupancy", "on")
        assert occupancy["attributes"]["device_class"] == "occupancy"
        home.wait_for_state("binary_sensor.hall_door_all_of_it_occupancy", "on")
        home.wait_for_state("binary_sensor.hall_door_edge_occupancy", "off")
        connected = home.wait_for_state("binary_sensor.hall_door_connected", "on")
        assert connected["attributes"]["device_class"] == "connectivity"
        assert home.wait_for_state("binary_sensor.hall_door_problem", "off")["attributes"]["device_class"] == "problem"
        assert home.wait_for_state("sensor.hall_door_faces", "1")["attributes"]["state_class"] == "measurement"
        assert 0 < float(home.wait_for_state("sensor.hall_door_confidence", str.isdigit)["state"]) <= 100
        camera.mood = "black"
        event = home.wait_for_state("event.hall_door_event", lambda state: state not in ("unknown", "missing"))
        camera.mood = "well"
        assert event["attributes"]["event_types"] == ["appeared", "changed", "left"]
        assert (event["attributes"]["event_type"], event["attributes"]["previous"]) == ("left", "happy")
        assert home.wait_for_state("switch.hall_door_watching", "on")
        about = home.template(
            "{% set d = device_id('sensor.hall_door_emotion') %}"
            "{{ [device_attr(d, 'configuration_url'), area_name(d), device_attr(d, 'manufacturer'),"
            " device_attr(d, 'model'), device_attr(d, 'sw_version')] | tojson }}"
        )
        url, area, manufacturer, model, version = json.loads(about)
        assert re.fullmatch(r"http://[^/]+:18765/", url)
        assert (area, manufacturer) == ("Entrance", "FER-Edge")
        assert model.startswith("fer-edge-s ") and version
        assert daemon.stop() == 0
    home.wait_for_state("sensor.hall_door_emotion", "unavailable")
    assert [line for line in home.log().splitlines() if "mqtt" in line.lower() and " ERROR " in line] == []


def test_the_switch_closes_the_camera_and_it_stays_closed_after_a_restart(
    tmp_path: Path, broker: Broker, home: HomeAssistant, camera: MjpegServer
) -> None:
    text = config(broker, {"door": camera.url("stream")})
    with running_daemon(folder_of(tmp_path, "device"), text) as daemon:
        home.wait_for_state("binary_sensor.hall_door_occupancy", "on")
        home.call("switch.turn_off", "switch.hall_door_watching")
        home.wait_for_state("switch.hall_door_watching", "off")
        home.wait_for_state("binary_sensor.hall_door_occupancy", "unavailable")
        home.wait_for_state("binary_sensor.hall_door_connected", "off")
        assert home.wait_for_state("binary_sensor.hall_door_problem", "off")
        assert [event["kind"] for event in daemon.events()][-1] == "left"
        opened, events = len(camera.asked), len(daemon.events())
        watchdog = daemon.count("WATCHDOG=1")
        daemon.wait_for(lambda: daemon.count("WATCHDOG=1") > watchdog + 1)
        assert (len(camera.asked), len(daemon.events())) == (opened, events)  # nothing is read
        assert daemon.stop() == 0
    with running_daemon(folder_of(tmp_path, "again"), text) as daemon:
        daemon.wait_for(lambda: any("door paused" in told for told in daemon.notified))
        home.wait_for_state("switch.hall_door_watching", "off")
        home.call("switch.turn_on", "switch.hall_door_watching")
        home.wait_for_state("switch.hall_door_watching", "on")
        home.wait_for_state("binary_sensor.hall_door_occupancy", "on")
        assert daemon.stop() == 0


def test_a_lost_camera_is_a_problem_with_a_reason(
    tmp_path: Path, broker: Broker, home: HomeAssistant, camera: MjpegServer
) -> None:
    cameras = {"door": camera.url("stream"), "garden": camera.url("page")}
    with running_daemon(folder_of(tmp_path, "device"), config(broker, cameras)) as daemon:
        problem = home.wait_for_state("binary_sensor.hall_garden_problem", "on")
        wait_for(lambda: home.states()["binary_sensor.hall_garden_problem"]["attributes"].get("reason"))
        problem = home.states()["binary_sensor.hall_garden_problem"]
        assert "does not send a readable video" in problem["attributes"]["reason"]
        home.wait_for_state("sensor.hall_garden_faces", "unavailable")
        home.wait_for_state("sensor.hall_door_faces", "1")
        assert daemon.stop() == 0


def test_what_no_longer_exists_is_removed_after_a_restart_too(
    tmp_path: Path, broker: Broker, home: HomeAssistant, camera: MjpegServer
) -> None:
    both = {"door": camera.url("stream"), "garden": camera.url("moody")}
    with running_daemon(folder_of(tmp_path, "device"), config(broker, both)) as daemon:
        home.wait_for_state("sensor.hall_garden_faces", "1")
        home.wait_for_state("sensor.hall_door_faces", "1")
        assert daemon.stop() == 0
    with running_daemon(folder_of(tmp_path, "fewer"), config(broker, {"door": camera.url("stream")})) as daemon:
        home.wait_for_state("sensor.hall_door_faces", "1")
        wait_for(lambda: not [entity for entity in home.states() if "garden" in entity])
        with closing(Listener(broker)) as listener:
            wait_for(lambda: listener.on("fer-edge/hall/door/state"))
            time.sleep(1)
            assert listener.on("fer-edge/hall/garden/state") == []
            (announced,) = {payload for topic, payload, _ in listener.messages if topic.endswith("/config")}
            assert b"garden" not in announced
        assert daemon.stop() == 0
    # After a restart, Home Assistant has the same states.
    home.stop()
    home.start()
    wait_for(lambda: "sensor.hall_door_faces" in home.states())
    assert not [entity for entity in home.states() if "garden" in entity]


def test_counts_alone_have_no_entity_of_a_face(
    tmp_path: Path, broker: Broker, home: HomeAssistant, camera: MjpegServer
) -> None:
    text = config(broker, {"door": camera.url("stream")})
    text = text.replace("[output]\n", '[output]\nprivacy = "aggregate"\naggregate_s = 2.0\n')
    with running_daemon(folder_of(tmp_path, "device"), text) as daemon:
        home.wait_for_state("sensor.hall_door_max_at_once", "1")
        assert not FACE_ENTITIES & set(home.states())
        assert daemon.stop() == 0


def test_states_do_not_flood_the_recorder(tmp_path: Path, broker: Broker, camera: MjpegServer) -> None:
    """A face stays, with fluctuating rate and confidence: about one message when it appears, and few after that."""
    with running_daemon(folder_of(tmp_path, "device"), config(broker, {"door": camera.url("stream")})) as daemon:
        daemon.wait_for_events(1, "appeared")
        time.sleep(3)
        with closing(Listener(broker)) as listener:
            time.sleep(20)
            told = [topic for topic, _, retained in listener.messages if topic.endswith("/state") and not retained]
            assert len(told) <= 4, told
        assert daemon.stop() == 0


def test_a_newer_model_is_an_available_update(
    tmp_path: Path, broker: Broker, home: HomeAssistant, camera: MjpegServer
) -> None:
    folder = folder_of(tmp_path, "device")
    store = Store(folder / "update")
    store.prepare()
    store.update(offered="9.9.9")
    more = f'[update]\nurl = "http://127.0.0.1:9"\nfolder = "{store.folder}"\ninterval_s = 0.0\n'
    with running_daemon(folder, config(broker, {"door": camera.url("moody")}) + more):
        entity = home.wait_for_state("update.hall_model", "on")["attributes"]
        assert (entity["latest_version"], entity["in_progress"]) == ("9.9.9", False)
        assert re.fullmatch(r"\d+\.\d+\.\d+", entity["installed_version"])
        assert entity["release_summary"] == "settled"
        store.update(offered=None)
        home.wait_for_state("update.hall_model", "off")
