"""A real MQTT broker on loopback, and a subscriber."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from paho.mqtt.client import Client, MQTTMessage
from paho.mqtt.enums import CallbackAPIVersion

from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.settings.service import MqttSettings, RecoverySettings
from fer_edge.status import SinkStatus, StatusBoard
from support.processes.waiting import wait_for

MOSQUITTO = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

needs_mosquitto = pytest.mark.skipif(MOSQUITTO is None, reason="needs mosquitto: apt-get install mosquitto")


class Broker:
    """Mosquitto, configured by ``lines``. Subscriptions survive a restart."""

    host = "127.0.0.1"

    def __init__(self, folder: Path, *lines: str, port: int | None = None) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = port or int(free.getsockname()[1])
        self._config = folder / "mosquitto.conf"
        given = lines or ("allow_anonymous true",)
        kept = ("persistence true", f"persistence_location {folder}/", "max_queued_messages 0", "user root")
        self._config.write_text("\n".join([f"listener {self.port} 127.0.0.1", *given, *kept]) + "\n")
        self._database = folder / "mosquitto.db"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start the broker and wait until it accepts connections."""
        assert MOSQUITTO is not None
        command = [MOSQUITTO, "-c", str(self._config)]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        wait_for(self._takes_connections)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it (SIGKILL) after it has saved its subscriptions."""
        assert self._process is not None
        self._database.unlink(missing_ok=True)
        self._process.send_signal(signal.SIGUSR1)
        wait_for(self._database.exists)
        self._process.kill()
        self._process.wait()

    def shut_down(self) -> None:
        """End it (SIGTERM): it saves sessions and what is queued for them."""
        assert self._process is not None
        self._process.terminate()
        assert self._process.wait(60) == 0

    def freeze(self) -> None:
        """Suspend it (SIGSTOP) until ``thaw``."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Resume it (SIGCONT)."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def stop(self) -> None:
        """Stop it, if it is running."""
        if self._process is not None and self._process.poll() is None:
            self._process.send_signal(signal.SIGCONT)
            self._process.kill()
            self._process.wait()

    def _takes_connections(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, "mosquitto has ended"
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True


class Listener:
    """Subscribe to all topics, over restarts too; ``messages`` holds (topic, payload, retained)."""

    def __init__(self, broker: Broker, name: str = "listener") -> None:
        self.messages: list[tuple[str, bytes, bool]] = []
        subscribed = threading.Event()
        self._client = Client(CallbackAPIVersion.VERSION2, name, clean_session=False)
        self._client.reconnect_delay_set(1, 1)
        self._client.on_message = self._take
        self._client.on_subscribe = lambda *_: subscribed.set()
        self._client.connect("127.0.0.1", broker.port)
        self._client.subscribe("#", 1)
        self._client.loop_start()
        assert subscribed.wait(60)

    def on(self, topic: str) -> list[bytes]:
        """Return the payloads received at ``topic``."""
        return [payload for name, payload, _ in self.messages if name == topic]

    def publish(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        """Publish a message."""
        self._client.publish(topic, payload, 1, retain).wait_for_publish(60)

    def close(self) -> None:
        """Disconnect."""
        self._client.disconnect()
        self._client.loop_stop()

    def _take(self, client: Client, data: object, message: MQTTMessage) -> None:
        self.messages.append((message.topic, bytes(message.payload), message.retain))


@contextmanager
def running(folder: Path, *lines: str) -> Iterator[tuple[Broker, Listener]]:
    """Run a broker and a subscriber."""
    broker = Broker(folder, *lines)
    broker.start()
    try:
        listener = Listener(broker)
        try:
            yield broker, listener
        finally:
            listener.close()
    finally:
        broker.stop()


def settings_for(port: int, **mqtt: object) -> RuntimeSettings:
    """Return settings that publish to a local broker at ``port`` and retry within a second."""
    given = {"host": "127.0.0.1", "port": port, "device": "pi", "keepalive_s": 5, **mqtt}
    return RuntimeSettings(
        mqtt=MqttSettings(**given),  # type: ignore[arg-type]
        recovery=RecoverySettings(reconnect=True, retry_max_s=1.0),
    )


def status_of(board: StatusBoard) -> SinkStatus:
    """Return the status of the MQTT sink."""
    return next(sink for sink in board.snapshot().sinks if sink.name == "mqtt")
