"""The blueprints and the card of docs/home-assistant, in a real Home Assistant."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.sinks import open_sinks
from fer_edge.status import ModelStatus, SourceState, SourceStatus, StatusBoard
from fer_edge.types import Box, EmotionEvent, EventKind, TrackedEmotion
from home_assistant.server import HomeAssistant, needs_home_assistant
from support.environments.fresh_install import CHECKOUT
from support.processes.waiting import wait_for
from support.servers.mosquitto import Broker, needs_mosquitto, running, settings_for

pytestmark = [needs_home_assistant, needs_mosquitto]
FILES = CHECKOUT / "docs" / "home-assistant"
AUTOMATIONS = """
- alias: greet
  use_blueprint:
    path: fer_edge/greet.yaml
    input:
      event: event.hall_door_event
      pause: 0
      actions:
        - if: "{{ emotion == 'happy' }}"
          then:
            - action: input_boolean.turn_on
              target: {entity_id: input_boolean.greeted}
- alias: lost
  use_blueprint:
    path: fer_edge/camera-lost.yaml
    input:
      problem: binary_sensor.hall_door_problem
      delay: 1
      actions:
        - if: "{{ 'no data' in reason }}"
          then:
            - action: input_boolean.turn_on
              target: {entity_id: input_boolean.told}
"""


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with running(tmp_path) as (broker, _):
        yield broker


@pytest.fixture
def home(tmp_path: Path, broker: Broker) -> Iterator[HomeAssistant]:
    folder = tmp_path / "home"
    blueprints = folder / "blueprints" / "automation" / "fer_edge"
    blueprints.mkdir(parents=True)
    for path in FILES.glob("*.yaml"):
        if "blueprint:" in path.read_text():
            shutil.copy(path, blueprints)
    with HomeAssistant(folder, broker.port) as home:
        (folder / "automations.yaml").write_text(AUTOMATIONS)
        home.start()
        yield home


def test_blueprints_act_and_the_card_names_entities_that_exist(home: HomeAssistant, broker: Broker) -> None:
    board = StatusBoard()
    board.set_model(ModelStatus("fer-edge-s", "1", "int8", ("happy", "sad")))
    track = TrackedEmotion("door", 1, Box(0, 0, 90, 90), "happy", 0.9, 0.0)
    board.update_source(SourceStatus("door", SourceState.WATCHING, fps=15.0, tracks=(track,)))
    with open_sinks(settings_for(broker.port, device="hall"), board, live=True) as sinks:
        home.wait_for_state("automation.greet", "on")
        home.wait_for_state("automation.lost", "on")
        home.wait_for_state("sensor.hall_door_emotion", "happy")
        sinks.emit(EmotionEvent(EventKind.CHANGED, "door", 1.7e9, 1.0, 1, "happy", "sad", 0.9))
        home.wait_for_state("event.hall_door_event", lambda state: state != "unknown")
        assert home.ask("states/input_boolean.greeted")["state"] == "off"
        sinks.emit(EmotionEvent(EventKind.APPEARED, "door", 1.7e9, 1.0, 2, "happy", None, 0.9))
        wait_for(lambda: home.ask("states/input_boolean.greeted")["state"] == "on")
        entities = set(re.findall(r"entity: (\S+)", (FILES / "dashboard-card.yaml").read_text()))
        assert entities <= set(home.states())
        lost = SourceStatus("door", SourceState.LOST, reason="door: the stream stopped: no data for 10.0 s")
        board.update_source(lost)
        home.wait_for_state("binary_sensor.hall_door_problem", "on")
        wait_for(lambda: home.ask("states/input_boolean.told")["state"] == "on")
    errors = [line for line in home.log().splitlines() if " ERROR " in line and "turbojpeg" not in line]
    assert not [line for line in errors if "automation" in line or "blueprint" in line], json.dumps(errors)
