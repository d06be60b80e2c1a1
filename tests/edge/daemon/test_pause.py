"""A paused source is closed, every status shows it, and it is opened again on request."""

from __future__ import annotations

import json
import re
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from support.cameras.mjpeg_server import mjpeg_server
from support.processes.daemon import Daemon, running_daemon
from support.processes.edge_command import write_video
from support.servers.mosquitto import Broker, Listener, needs_mosquitto

pytestmark = needs_mosquitto


@pytest.fixture
def broker(tmp_path: Path) -> Any:
    broker = Broker(tmp_path)
    broker.start()
    yield broker
    broker.stop()


def config(bundle: Path, broker: Broker, uris: list[str]) -> str:
    return f"""
[source]
uris = {json.dumps(uris)}
[model]
bundle = "{bundle}"
[recovery]
reconnect = true
retry_min_s = 0.2
[mqtt]
host = "127.0.0.1"
port = {broker.port}
device = "hall"
[output]
events = "events.jsonl"
[web]
enabled = true
port = 0
"""


def page_of(daemon: Daemon, path: str) -> bytes:
    daemon.wait_for(lambda: "status page at" in daemon.errors())
    found = re.search(r"status page at (\S+)", daemon.errors())
    assert found is not None
    with urllib.request.urlopen(f"{found.group(1)}{path}", timeout=20) as answer:
        return bytes(answer.read())


@pytest.mark.slow
def test_a_paused_camera_is_closed_and_opened_again(tiny_bundle: Path, broker: Broker, tmp_path: Path) -> None:
    with (
        mjpeg_server() as server,
        running_daemon(tmp_path, config(tiny_bundle, broker, [f"door={server.url('stream')}"])) as daemon,
        closing(Listener(broker)) as listener,
    ):
        daemon.wait_for_events(1, "appeared")
        opened = len(server.asked)
        listener.publish("fer-edge/hall/door/watch/set", b"OFF")
        daemon.wait_for(lambda: daemon.last_status.startswith("STATUS=0 of 1 source watched; door paused"))
        daemon.wait_for_events(1, "left")
        assert json.loads(page_of(daemon, "healthz")) == {"healthy": True, "reasons": []}
        (source,) = json.loads(page_of(daemon, "api/status"))["sources"]
        assert (source["state"], source["lost"]) == ("paused", 0)
        assert b'fer_edge_source_paused{source="door"} 1.0\n' in page_of(daemon, "metrics")
        events, fed = len(daemon.events()), daemon.count("WATCHDOG=1")
        daemon.wait_for(lambda: daemon.count("WATCHDOG=1") >= fed + 2)  # not ended by the watchdog
        assert (len(server.asked), len(daemon.events())) == (opened, events)
        listener.publish("fer-edge/hall/door/watch/set", b"ON")
        daemon.wait_for_events(2, "appeared")
        assert daemon.events("source_lost", "source_back") == []
        # Paused when it is asked to end.
        listener.publish("fer-edge/hall/door/watch/set", b"OFF")
        daemon.wait_for(lambda: "door paused" in daemon.last_status)
        began = time.monotonic()
        assert daemon.stop() == 0
        assert time.monotonic() - began < 5


@pytest.mark.slow
def test_a_lost_camera_can_be_paused_and_a_file_cannot(tiny_bundle: Path, broker: Broker, tmp_path: Path) -> None:
    film = write_video(tmp_path / "film.mp4", 200)
    with mjpeg_server() as server:
        text = config(tiny_bundle, broker, [f"door={server.url('page')}", f"film={film}"])
        text = text.replace("[model]", "realtime = true\n[model]")
        with running_daemon(tmp_path, text) as daemon, closing(Listener(broker)) as listener:
            daemon.wait_for_events(1, "source_lost")
            for name in ("film", "door"):
                listener.publish(f"fer-edge/hall/{name}/watch/set", b"OFF")
            daemon.wait_for(lambda: "door paused" in daemon.last_status)
            asked = len(server.asked)
            time.sleep(1)
            assert len(server.asked) == asked  # it is not opened again until then
            assert "film paused" not in "".join(daemon.notified)
            listener.publish("fer-edge/hall/door/watch/set", b"ON")
            daemon.wait_for(lambda: len(server.asked) > asked)
            assert daemon.stop() == 0
