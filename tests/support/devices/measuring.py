"""A device that measures for ``fer-edge bench --on``: it has the package fer_edge alone, and its dependencies."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fer_bench.remote.device import Device as RemoteDevice
from fer_ssh.ssh import Address
from support.devices.device import SYSTEM_PYTHON, Device, device
from support.environments.fresh_install import CHECKOUT
from support.processes.edge_command import command_line, fer_edge
from support.processes.waiting import wait_for
from support.servers.sshd import Sshd, sshd

PROGRAM = "/opt/fer-edge/current/bin/fer-edge"
_PROGRAM = f"""\
#!/bin/sh
PYTHONPATH=/opt/fer-edge/current/lib:/opt/fer-edge/packages exec {SYSTEM_PYTHON} -m fer_edge "$@"
"""


@dataclass(frozen=True)
class Measuring:
    """The device, its sshd, and a folder for commands."""

    device: Device
    sshd: Sshd
    folder: Path

    @property
    def cache(self) -> Path:
        """The folder on the device with the files that were sent, seen from here."""
        return self.device.path(self.cache_there)

    @property
    def cache_there(self) -> str:
        """That folder, as the device names it."""
        return f"{'/root' if self.sshd.user == 'root' else '/home/pi'}/.cache/fer-edge/measure"

    def words(self, what: str, *words: object) -> list[object]:
        """Return the arguments of ``bench accuracy`` or ``bench latency`` on the device."""
        return ["bench", what, "--on", "device", "--ssh-config", self.sshd.config, *words]

    def bench(self, what: str, *words: object) -> subprocess.CompletedProcess[str]:
        """Run it."""
        return fer_edge(*self.words(what, *words), cwd=self.folder)

    def start(self, what: str, *words: object) -> subprocess.Popen[str]:
        """Start it, in a new session."""
        return subprocess.Popen(
            command_line(*self.words(what, *words)),
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def connect(self) -> RemoteDevice:
        """Connect to it from this process."""
        return RemoteDevice(self.address, interactive=False)

    @property
    def address(self) -> Address:
        return Address("device", config=self.sshd.config)

    def processes(self, part: str) -> list[int]:
        """Return the processes of the device whose command line contains ``part``."""
        found = []
        there = self.device.path("/").parent / "ns/mnt"
        for folder in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
                if part in words and (folder / "ns/mnt").readlink() == there.readlink():
                    found.append(int(folder.name))
        return found

    def cut(self) -> None:
        """Cut all connections to it."""
        connections = self.processes(f"sshd: {self.sshd.user}")
        assert connections
        for process in connections:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)

    def wait_until_idle(self) -> None:
        """Wait until it has neither a process of a measurement nor a temporary file."""
        wait_for(lambda: not self.processes("fer_edge"))
        assert not self.temporary_files()

    def temporary_files(self) -> list[Path]:
        """Return the files in its cache that are not complete."""
        return list(self.cache.rglob(".*"))

    @contextlib.contextmanager
    def program(self, text: str | None) -> Iterator[None]:
        """Replace its ``fer-edge`` by a shell script, or remove it. The real one is $REAL in the script."""
        path, kept = self.device.path(PROGRAM), self.device.path(f"{PROGRAM}-real")
        path.rename(kept)
        try:
            if text is not None:
                path.write_text(f"#!/bin/sh\nREAL={PROGRAM}-real\n{text}\n")
                path.chmod(0o755)
            yield
        finally:
            kept.replace(path)


@contextlib.contextmanager
def measuring_device(folder: Path) -> Iterator[Measuring]:
    """Yield a new device, with its files in ``folder``."""
    with device(folder) as made, sshd(made, folder) as server:
        made.run("mkdir", "-p", "/opt/fer-edge/packages", "/opt/fer-edge/current/bin")
        # Its user must be able to read them; the folders of a test are root's.
        bound = made.run("mount", "--bind", folder / "device" / "packages", "/opt/fer-edge/packages")
        assert bound.returncode == 0, bound.stderr
        library = made.path("/opt/fer-edge/current/lib/fer_edge")
        shutil.copytree(CHECKOUT / "edge" / "fer_edge", library, ignore=shutil.ignore_patterns("__pycache__"))
        (program := made.path(PROGRAM)).write_text(_PROGRAM)
        program.chmod(0o755)
        yield Measuring(made, server, folder)
