"""NATS servers with MQTT on loopback, configured by the examples in docs/nats."""

from __future__ import annotations

import json
import random
import shutil
import socket
import subprocess
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
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
    """A server with the configuration ``text``, which keeps what it has in ``folder``; ``monitor`` is a URL."""

    def __init__(self, folder: Path, text: str, users: str, host: str, port: int, monitor: str = "") -> None:
        folder.mkdir(exist_ok=True)
        self.name, self.host, self.port, self._monitor = folder.name, host, port, monitor
        self._config, self._log = folder / "nats.conf", folder / "nats.log"
        self._config.write_text(text)
        (folder / "users.conf").write_text(users)
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it and wait until MQTT clients can connect."""
        assert NATS_SERVER is not None
        with self._log.open("a") as log:
            self._process = subprocess.Popen([NATS_SERVER, "-c", self._config], stdout=log, stderr=log)
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

    def replicas(self) -> list[list[bool]]:
        """Return which replicas are current, of the events and of each consumer of them that this server leads."""
        with urllib.request.urlopen(f"{self._monitor}/jsz?accounts=1&streams=1&consumers=1", timeout=5) as answer:
            accounts = json.load(answer).get("account_details") or ()
        streams = [stream for account in accounts for stream in account.get("stream_detail") or ()]
        events = [stream for stream in streams if stream["name"] == "$MQTT_msgs"]
        assets = [*events, *(one for stream in events for one in stream.get("consumer_detail") or ())]
        groups = [asset.get("cluster", {}) for asset in assets]
        led = [group.get("replicas") or () for group in groups if group.get("leader") == self.name]
        return [[replica["current"] for replica in replicas] for replicas in led]

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
    with socket.create_server(("127.0.0.1", 0)) as free, socket.create_server(("127.0.0.1", 0)) as other:
        port, own = int(free.getsockname()[1]), int(other.getsockname()[1])
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

    def is_current(self) -> bool:
        """Return whether each server has all events, and all that the four subscriptions of ingest have received."""
        groups = [group for node in self.nodes for group in node.replicas()]
        return len(groups) == 1 + 4 and all(group == [True, True] for group in groups)


@contextmanager
def nats_cluster(folder: Path, devices: Iterable[str]) -> Iterator[Cluster]:
    """Run three servers with users for ``devices`` and ``fleet``; the port for MQTT is the same at each address."""
    port, (owns, routes, monitors) = _ports_of_cluster()
    addresses = {
        f"nats{number}.example.org:6222": f"{host}:{route}"
        for number, (host, route) in enumerate(zip(_NODES, routes, strict=True), 1)
    }
    nodes = []
    for number, (host, own, route, monitor) in enumerate(zip(_NODES, owns, routes, monitors, strict=True), 1):
        name = f"nats{number}"
        changed = {
            "server_name: nats1": f"server_name: {name}",
            "127.0.0.1:4222": f"{host}:{own}",
            "127.0.0.1:8222": f"{host}:{monitor}",
            "0.0.0.0:6222": f"{host}:{route}",
            "0.0.0.0:1883": f"{host}:{port}",
            "/var/lib/nats": str(folder / name),
        }
        text = example("cluster.conf", {**changed, **addresses})
        nodes.append(Nats(folder / name, text, _users_of(devices), host, port, f"http://{host}:{monitor}"))
    try:
        for node in nodes:
            node.start()
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


def _ports_of_cluster() -> tuple[int, list[list[int]]]:
    """Return a port that is free at each of the nodes, and three others of each node."""
    with ExitStack() as stack:

        def free(host: str, port: int = 0) -> int:
            return int(stack.enter_context(socket.create_server((host, port))).getsockname()[1])

        first, *others = _NODES
        while True:
            shared = free(first)
            with suppress(OSError):
                for host in others:
                    free(host, shared)
                # All are held until each is found: they must differ.
                return shared, [[free(host) for host in _NODES] for _ in range(3)]


def _users() -> str:
    return (EXAMPLES / "users.conf").read_text()


def _users_of(devices: Iterable[str]) -> str:
    """Return the example with the entry of its one device repeated for each of ``devices``."""
    head, begin, rest = _users().partition('    {\n      user: "door"')
    entry, end, tail = (begin + rest).partition("\n    }\n")
    return head + "".join((entry + end).replace("door", name) for name in devices) + tail
