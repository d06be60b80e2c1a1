"""NATS servers with MQTT on loopback, configured by the examples in docs/nats."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from support.processes.waiting import wait_for

NATS_SERVER = shutil.which("nats-server", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
EXAMPLES = Path(__file__).parents[3] / "docs" / "nats"
CLUSTER_NAME = "brokers.test"
"""The name of all nodes of a cluster together, for processes whose ``socket.getaddrinfo`` is ``cluster_addresses``."""
_NODES = ("127.0.0.1", "127.0.0.2", "127.0.0.3")

needs_nats = pytest.mark.skipif(NATS_SERVER is None, reason="needs nats-server: apt-get install nats-server")
_resolve = socket.getaddrinfo


class Nats:
    """A server with the configuration ``text``, which keeps what it has in ``folder``."""

    def __init__(self, folder: Path, text: str, users: str, host: str, port: int) -> None:
        folder.mkdir(exist_ok=True)
        self.host, self.port = host, port
        self._monitor = free_ports(host)[0]
        self._config, self._log = folder / "nats.conf", folder / "nats.log"
        self._config.write_text(text)
        (folder / "users.conf").write_text(users)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until MQTT clients can connect."""
        assert NATS_SERVER is not None
        with self._log.open("a") as log:
            command = [NATS_SERVER, "-c", self._config, "-m", str(self._monitor)]
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        wait_for(self._takes_connections)

    @property
    def pid(self) -> int:
        """Its process."""
        assert self._process is not None
        return self._process.pid

    def kill(self) -> None:
        """Kill it (SIGKILL). Idempotent."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    stop = kill

    def said(self, words: str) -> bool:
        """Return whether its log has ``words``."""
        return words in self._log.read_text()

    def is_current(self) -> bool:
        """Return whether it has everything that the others of its cluster have."""
        try:
            with urllib.request.urlopen(f"http://{self.host}:{self._monitor}/healthz", timeout=5) as answer:
                return bool(json.load(answer) == {"status": "ok"})
        except OSError:  # as urllib's HTTPError is
            return False

    def _takes_connections(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, self._log.read_text()
        try:
            socket.create_connection((self.host, self.port), 1.0).close()
        except OSError:
            return False
        return True


def nats_server(folder: Path, users: str | None = None) -> Nats:
    """Return a server with the users of the example, or ``users``: "" lets everyone do everything."""
    own, port = free_ports("127.0.0.1", "127.0.0.1")
    changed = {
        "127.0.0.1:4222": f"127.0.0.1:{own}",
        "0.0.0.0:1883": f"127.0.0.1:{port}",
        "/var/lib/nats": str(folder),
    }
    return Nats(folder, example("nats-server.conf", changed), _users() if users is None else users, "127.0.0.1", port)


class Cluster(NamedTuple):
    """The nodes, and how clients reach any of them."""

    nodes: list[Nats]
    port: int
    host: str = CLUSTER_NAME


@contextmanager
def nats_cluster(folder: Path, devices: Iterable[str]) -> Iterator[Cluster]:
    """Run three servers with users for ``devices`` and ``fleet``; the port for MQTT is the same at each address."""
    port, routes = _port_of_all(_NODES), free_ports(*_NODES)
    addresses = {
        f"nats{number}.example.org:6222": f"{host}:{route}"
        for number, (host, route) in enumerate(zip(_NODES, routes, strict=True), 1)
    }
    nodes = []
    for number, host in enumerate(_NODES, 1):
        changed = {
            "server_name: nats1": f"server_name: nats{number}",
            "127.0.0.1:4222": f"{host}:{free_ports(host)[0]}",
            "0.0.0.0:6222": f"{host}:{routes[number - 1]}",
            "0.0.0.0:1883": f"{host}:{port}",
            "/var/lib/nats": str(folder / f"nats{number}"),
        }
        text = example("cluster.conf", {**changed, **addresses})
        nodes.append(Nats(folder / f"nats{number}", text, _users_of(devices), host, port))
    try:
        for node in nodes:
            node.start()
        wait_for(lambda: all(node.is_current() for node in nodes))
        yield Cluster(nodes, port)
    finally:
        for node in nodes:
            node.kill()


def password_file(folder: Path, name: str) -> str:
    """Write the password of the user ``name`` of the examples to a file; return its path."""
    path = folder / f"{name}.password"
    path.write_text(f"CHANGE-{name}\n")
    path.chmod(0o600)
    return str(path)


def example(name: str, changed: Mapping[str, str]) -> str:
    """Return a configuration of the documentation with addresses and folders of this machine."""
    text = (EXAMPLES / name).read_text()
    for there, here in changed.items():
        assert text.count(there) == 1, there
        text = text.replace(there, here)
    return text


def cluster_addresses(host: Any, *rest: Any, **options: Any) -> Any:
    """Resolve names as ``socket.getaddrinfo``, and CLUSTER_NAME as a DNS server that has an entry for each node."""
    if host != CLUSTER_NAME:
        return _resolve(host, *rest, **options)
    nodes = random.sample(_NODES, len(_NODES))
    return [entry for node in nodes for entry in _resolve(node, *rest, **options)]


def free_ports(*hosts: str) -> list[int]:
    """Return a free port at each of ``hosts``."""
    with ExitStack() as stack:
        return [stack.enter_context(socket.create_server((host, 0))).getsockname()[1] for host in hosts]


def _port_of_all(hosts: Iterable[str]) -> int:
    """Return a port that is free at all of ``hosts``."""
    while True:
        with ExitStack() as stack:
            first, *others = hosts
            port = int(stack.enter_context(socket.create_server((first, 0))).getsockname()[1])
            try:
                for host in others:
                    stack.enter_context(socket.create_server((host, port)))
            except OSError:
                continue
            return port


def _users() -> str:
    return (EXAMPLES / "users.conf").read_text()


def _users_of(devices: Iterable[str]) -> str:
    """Return the example with the entry of its one device repeated for each of ``devices``."""
    head, begin, rest = _users().partition('    {\n      user: "door"')
    entry, end, tail = (begin + rest).partition("\n    }\n")
    return head + "".join((entry + end).replace("door", name) for name in devices) + tail
