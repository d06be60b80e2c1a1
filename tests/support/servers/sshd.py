"""A real sshd on loopback for logging in to a device, and the configuration of its client."""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from support.devices.device import Device
from support.processes.waiting import wait_for

SSHD = Path("/usr/sbin/sshd")
needs_sshd = pytest.mark.skipif(
    not SSHD.exists() or shutil.which("ssh") is None, reason="needs sshd: apt-get install openssh-server"
)


@dataclass(frozen=True)
class Sshd:
    """A running sshd. With ``config``, ssh connects to the host ``device`` as ``user``, which may become root."""

    user: str
    config: Path
    port: int
    known_hosts: Path
    identity: Path


@contextlib.contextmanager
def sshd(device: Device, folder: Path) -> Iterator[Sshd]:
    """Keys, settings and logs are in ``folder``, which must be visible in the device."""
    for name in ("host", "user"):
        made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name)]
        subprocess.run(made, check=True, capture_output=True)
    port = _port()
    # As on Raspberry Pi OS; root itself if sudo is not installed here.
    user = "pi" if shutil.which("sudo") else "root"
    if user == "pi":
        device.run("useradd", "--create-home", "--password", "*", user)
        (allowed := device.path("/etc/sudoers.d/pi")).write_text("pi ALL=(ALL) NOPASSWD: ALL\n")
        allowed.chmod(0o440)
    (keys := device.path("/run/authorized_keys")).write_text((folder / "user.pub").read_text())
    keys.chmod(0o644)
    known = folder / "known_hosts"
    known.write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile /run/authorized_keys\n"
        f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n"
    )
    config = folder / "ssh_config"
    config.write_text(
        f"Host device\nHostName 127.0.0.1\nPort {port}\nUser {user}\nIdentityFile {folder}/user\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {known}\nGlobalKnownHostsFile /dev/null\n"
    )
    command = device.command(SSHD, "-D", "-e", "-f", folder / "sshd_config")
    with (folder / "sshd.log").open("wb") as log, subprocess.Popen(command, stdout=log, stderr=log) as server:
        try:
            wait_for(lambda: _listens(port))
            yield Sshd(user, config, port, known, folder / "user")
        finally:
            server.terminate()


def _port() -> int:
    # Not support.servers.loopback.free_port, which stays bound: sshd must bind it.
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False
