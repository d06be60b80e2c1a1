"""``fer-edge bench --on`` with the emulated system as the device: an sshd starts ``fer-edge`` in the sandbox."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from arm.sandbox import Sandbox
from fer_bench.remote.device import Device
from fer_bench.remote.measure import RemoteRunner, send_variants
from fer_bench.runners import BundleRunner
from fer_edge.errors import CheckFailedError
from fer_edge.model.bundle import load_bundle
from fer_ssh.ssh import Address
from support.processes.waiting import wait_for

_SSHD = Path("/usr/sbin/sshd")
FACES = 32
"""Enough for every label; the agent starts and tries the model first, which takes longer than these."""
# A separate /run, for the folder that sshd requires and does not create.
_START = "mount -t tmpfs none /run && mkdir /run/sshd && exec /usr/sbin/sshd -D -e -f sshd_config"


def check_on_device(sandbox: Sandbox, bundle: Path, faces: npt.NDArray[np.uint8]) -> str:
    """Compare logits by ``--on`` with this machine's, and return one line. Raises CheckFailedError."""
    if os.geteuid() != 0 or not _SSHD.exists() or shutil.which("ssh") is None:
        return "bench --on: skipped, because it needs root and openssh-server"
    faces = faces[:FACES]
    with _sshd(sandbox) as address, load_bundle(bundle) as opened, Device(address, interactive=False) as device:
        send_variants(device, opened)
        with BundleRunner(opened, "int8") as here, RemoteRunner(device, opened, "int8") as there:
            wanted, found = here.logits(faces), there.logits(faces)
        machine = device.facts.machine
    steps = np.abs(wanted - found).max() / opened.manifest.variants["int8"].io.output.scale
    if machine != "aarch64" or steps > 1.001:
        raise CheckFailedError(f"bench --on: on {machine}, {steps:.2f} steps of int8 from this machine's logits")
    return f"bench --on, {machine}: logits of {len(faces)} faces differ by at most {steps:.0f} steps of int8"


@contextlib.contextmanager
def _sshd(sandbox: Sandbox) -> Iterator[Address]:
    """Run an sshd whose ``fer-edge`` is that of ``sandbox``, and yield its address."""
    with tempfile.TemporaryDirectory(prefix="fer-edge-arm-sshd-") as name:
        folder = Path(name)
        for key in ("host", "user"):
            made = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / key)]
            subprocess.run(made, check=True, capture_output=True)
        program = folder / "fer-edge"
        command = sandbox.python_command("-m", "fer_edge", shown={}, environment={}, cwd="/tmp")
        program.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        program.chmod(0o755)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = int(listener.getsockname()[1])
        (folder / "sshd_config").write_text(
            f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/user.pub\n"
            f"StrictModes no\nUsePAM no\nPasswordAuthentication no\nPidFile none\nPermitRootLogin yes\n"
            f"SetEnv PATH={folder}:/usr/bin:/bin\n"
        )
        (folder / "known").write_text(f"[127.0.0.1]:{port} {(folder / 'host.pub').read_text()}")
        (config := folder / "ssh_config").write_text(
            f"Host device\nHostName 127.0.0.1\nPort {port}\nUser root\nIdentityFile {folder}/user\nIdentitiesOnly yes\n"
            f"UserKnownHostsFile {folder}/known\nGlobalKnownHostsFile /dev/null\n"
        )
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(["unshare", "--mount", "sh", "-c", _START], cwd=folder, stdout=log, stderr=log)
            try:
                wait_for(lambda: _listens(port))
                yield Address("device", config=config)
            finally:
                server.terminate()
                server.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
