"""The example of a configuration as a user runs it: page, metrics, and a real broker, on the ports that it names."""

from __future__ import annotations

import json
import socket
import subprocess
import urllib.request
from pathlib import Path

import pytest

from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import clean_environment, command_line
from support.servers.mosquitto import MOSQUITTO, Broker, Listener, wait_for

EXAMPLE = CHECKOUT / "edge" / "config.example.toml"


def taken(port: int) -> bool:
    with socket.socket() as attempt:
        return attempt.connect_ex(("127.0.0.1", port)) == 0


@pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto: apt-get install mosquitto")
@pytest.mark.skipif(taken(1883) or taken(8080), reason="port 1883 or 8080 is taken on this machine")
def test_it_shows_the_page_publishes_and_answers_prometheus(tmp_path: Path) -> None:
    broker = Broker(tmp_path, port=1883)
    broker.start()
    listener = Listener(broker)
    process = subprocess.Popen(
        command_line("run", "--config", EXAMPLE), cwd=tmp_path, env=clean_environment(), stdout=subprocess.DEVNULL
    )

    def ask(path: str) -> str:
        with urllib.request.urlopen(f"http://127.0.0.1:8080{path}", timeout=30) as answer:
            return str(answer.read().decode())

    try:
        wait_for(lambda: [topic for topic, _, _ in listener.messages if topic.endswith("/demo/events")])
        event = next(json.loads(payload) for topic, payload, _ in listener.messages if topic.endswith("/demo/events"))
        assert (event["kind"], event["source"]) == ("appeared", "demo")
        wait_for(lambda: [topic for topic, _, kept in listener.messages if topic.startswith("homeassistant/")])
        assert "<title>" in ask("/")
        assert json.loads(ask("/readyz"))["ready"]
        assert 'fer_edge_frames_total{source="demo"}' in ask("/metrics")
        process.terminate()
        assert process.wait(60) == 0
    finally:
        process.kill()
        listener.close()
        broker.stop()
