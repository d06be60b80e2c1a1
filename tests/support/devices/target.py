"""A device for ``fer-edge deploy``: its files, and the command line."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from support.devices.device import Device
from support.processes.edge_command import fer_edge
from support.servers.sshd import Sshd

SETTINGS = '[source]\nuris = ["demo"]\nrealtime = true\n[model]\nbundle = "/opt/fer-edge/current/bundle"\n'
HOME = "/opt/fer-edge"
CONFIG = "/etc/fer-edge/config.toml"


@dataclass(frozen=True)
class Target:
    """A device, its sshd, and its first payload."""

    device: Device
    sshd: Sshd
    payload: Path
    folder: Path

    def deploy(self, *words: object, payload: Path | None = None) -> subprocess.CompletedProcess[str]:
        return fer_edge(*self.words(*words, payload=payload), cwd=self.folder)

    def words(self, *words: object, payload: Path | None = None) -> list[object]:
        given = [] if "--remove" in words else ["--payload", payload or self.payload]
        return ["deploy", "device", "--ssh-config", self.sshd.config, "--yes", *given, *words]

    def install(self, payload: Path, *words: object) -> subprocess.CompletedProcess[str]:
        return self.device.run("sh", payload / "install.sh", *words)

    @property
    def staging(self) -> str:
        """The folder to which payloads are copied."""
        return f"{'/root' if self.sshd.user == 'root' else '/home/pi'}/.cache/fer-edge/payload"

    @property
    def current(self) -> str:
        link = self.device.path(f"{HOME}/current")
        return str(link.readlink()) if link.is_symlink() else ""

    @property
    def settings(self) -> str:
        return self.device.path(CONFIG).read_text()

    @property
    def state(self) -> str:
        return self.device.path("/run/fer-edge.state").read_text().strip()
