"""Several devices, each with its sshd, and one ssh configuration that knows them by name."""

from __future__ import annotations

import contextlib
import socket
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from support.devices.device import device, this_release
from support.devices.target import Target
from support.processes.edge_command import fer_edge
from support.servers.sshd import sshd

NOWHERE = ("nowhere", "nowhere-else")
"""Hosts whose ports refuse connections."""


@dataclass(frozen=True)
class Fleet:
    """Devices by name."""

    devices: dict[str, Target]
    config: Path
    payload: Path
    folder: Path

    def deploy(self, *words: object, payload: Path | None = None) -> subprocess.CompletedProcess[str]:
        return fer_edge(*self.words(*words, payload=payload), cwd=self.folder)

    def words(self, *words: object, payload: Path | None = None) -> list[object]:
        given = [] if "--remove" in words else ["--payload", payload or self.payload]
        return ["deploy", *words, "--ssh-config", self.config, "--yes", *given]

    def started(self) -> dict[str, int]:
        """Return how often the service of each device was started or stopped so far."""
        verbs = {"start", "restart", "stop", "--now"}
        return {
            name: sum(bool(verbs & set(line.split())) for line in target.device.asked_of_systemctl())
            for name, target in self.devices.items()
        }


def table_of(printed: str) -> dict[str, tuple[str, str]]:
    """Return result and advice by host, from the table at the end of ``printed``."""
    header, *rows = printed[printed.index("\n\nhost ") :].strip().splitlines()
    starts = [header.index(name) for name in ("result", "seconds", "what to do")]
    return {row[: starts[0]].strip(): (row[starts[0] : starts[1]].strip(), row[starts[2] :].strip()) for row in rows}


@contextlib.contextmanager
def fleet(names: Sequence[str], payload: Path, folder: Path) -> Iterator[Fleet]:
    """Yield devices that do not have FER-Edge yet, and ``payload`` for them."""
    with contextlib.ExitStack() as stack:
        devices, entries = {}, []
        for name in names:
            (own := folder / name).mkdir()
            made = stack.enter_context(device(own))
            server = stack.enter_context(sshd(made, own))
            made.path("/etc/os-release").unlink()
            made.path("/etc/os-release").write_text(f"VERSION_CODENAME={this_release().name}\n")
            devices[name] = Target(made, server, payload, own)
            entries.append(server.config.read_text().replace("Host device", f"Host {name}", 1))
        held = stack.enter_context(socket.socket())
        held.bind(("127.0.0.1", 0))  # does not listen
        entries += [f"Host {name}\nHostName 127.0.0.1\nPort {held.getsockname()[1]}\n" for name in NOWHERE]
        (config := folder / "ssh_config").write_text("\n".join(entries))
        yield Fleet(devices, config, payload, folder)
