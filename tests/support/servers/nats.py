"""A NATS server with MQTT on loopback, of the example in docs/nats."""

from __future__ import annotations

import shutil
import socket
import subprocess
from pathlib import Path

import pytest

from support.processes.waiting import wait_for

NATS_SERVER = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
EXAMPLE = Path(__file__).parents[3] / "docs" / "nats" / "nats-server.conf"

needs_nats = pytest.mark.skipif(NATS_SERVER is None, reason="needs nats-server: apt-get install nats-server")


class Nats:
    """The server, which keeps what it has in ``folder``; users and passwords are those of the example."""

    def __init__(self, folder: Path) -> None:
        with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
            self.port, own = free.getsockname()[1], other.getsockname()[1]
        text = EXAMPLE.read_text()
        for example, here in {
            "127.0.0.1:4222": f"127.0.0.1:{own}",
            "0.0.0.0:1883": f"127.0.0.1:{self.port}",
            "/var/lib/nats": str(folder),
        }.items():
            assert text.count(example) == 1
            text = text.replace(example, here)
        self._config, self._log = folder / "nats.conf", folder / "nats.log"
        self._config.write_text(text)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until MQTT clients can connect."""
        assert NATS_SERVER is not None
        with self._log.open("a") as log:
            self._process = subprocess.Popen([NATS_SERVER, "-c", self._config], stdout=log, stderr=log)
        wait_for(self._takes_connections)

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def said(self, words: str) -> bool:
        """Return whether its log has ``words``."""
        return words in self._log.read_text()

    def _takes_connections(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            socket.create_connection(("127.0.0.1", self.port), 1.0).close()
        except OSError:
            return False
        return True
