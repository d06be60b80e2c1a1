"""Debian with systemd as its first process, in a container whose changes are discarded."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

from arm.rootfs import Suite
from arm.sandbox import run
from fer_edge.errors import CheckFailedError, InputError
from support.environments.fresh_install import lock_path

T = TypeVar("T")

ENVIRONMENT = "/opt/fer-edge"
"""Folder of fer-edge and its packages in the container."""
PATIENCE_S = 300.0
"""Time limit of each wait, for a busy machine."""
_DEBIAN = "systemd,systemd-sysv,dbus,udev,python3,python3-venv,ca-certificates"
_PROGRAMS = {"systemd-nspawn": "systemd-container", "mmdebstrap": "mmdebstrap", "nsenter": "util-linux"}


def refuse_if_something_is_missing() -> None:
    """Raises InputError."""
    missing = [package for program, package in _PROGRAMS.items() if shutil.which(program) is None]
    if missing or os.geteuid() != 0:
        raise InputError(f"needs root, and apt-get install {' '.join(missing or _PROGRAMS.values())}")


def made_from(suite: Suite) -> bytes:
    """Description of the sources of a kept file system."""
    return Path(__file__).read_bytes() + _lock(suite).read_bytes()


def build(suite: Suite, folder: Path) -> None:
    """Create the file system below ``folder``: Debian, and a virtual environment with the locked packages."""
    root, wheels = folder / "root", folder / "wheels"
    print(f"Preparing {suite.name} with systemd (once)", flush=True)
    root.mkdir()
    archive = folder / "root.tar"
    run(["mmdebstrap", "--quiet", "--variant=minbase", f"--include={_DEBIAN}", suite.name, archive])
    # The container creates its own devices.
    run(["tar", "-x", "--exclude=./dev/*", "-C", root, "-f", archive])
    archive.unlink()
    print("… wheels", flush=True)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--require-hashes", "--dest", wheels]
    platform = ["--only-binary=:all:", "--implementation=cp", f"--python-version={suite.python}"]
    platform += [f"--abi={abi}" for abi in (f"cp{suite.python.replace('.', '')}", "abi3", "none")]
    platform += [f"--platform=manylinux{name}_x86_64" for name in ("2014", "_2_17", "_2_27", "_2_28")]
    run([*pip, *platform, "-r", _lock(suite)])
    shutil.move(wheels, root / "opt" / "wheels")
    run(["chroot", root, "python3", "-m", "venv", ENVIRONMENT])
    inside = [f"{ENVIRONMENT}/bin/pip", "install", "--quiet", "--no-index", "--no-deps"]
    run(["chroot", root, "sh", "-c", " ".join([*inside, "/opt/wheels/*.whl"])])
    shutil.rmtree(root / "opt" / "wheels")


def _lock(suite: Suite) -> Path:
    return lock_path(suite.lock)


class Container:
    """A running container; commands run in it as root."""

    def __init__(self, leader: int) -> None:
        self.leader = leader
        """The id of its first process on this machine."""

    def run(self, *words: str, stdin: str | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command; return its result, also if it fails."""
        enter = ["nsenter", "--target", str(self.leader)]
        enter += ["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--"]
        clean = ["env", "-i", "PATH=/usr/bin:/usr/sbin:/bin:/sbin", "LANG=C.UTF-8", *words]
        return subprocess.run(
            [*enter, *clean], input=stdin or "", capture_output=True, text=True, timeout=PATIENCE_S, check=False
        )

    def must(self, *words: str, stdin: str | None = None) -> str:
        """Run a command and return its output. Raises CheckFailedError if it fails."""
        done = self.run(*words, stdin=stdin)
        if done.returncode:
            said = " ".join((done.stderr or done.stdout).split())[-400:]
            raise CheckFailedError(f"{' '.join(words)}: exit {done.returncode}: {said}")
        return done.stdout

    def write(self, path: str, text: str) -> None:
        """Write ``text`` to a file, and create its folders."""
        self.must("sh", "-c", 'mkdir -p "$(dirname "$0")" && cat >"$0"', path, stdin=text)


@contextlib.contextmanager
def booted(root: Path, shown: Path) -> Iterator[Container]:
    """Boot a container on an overlay of ``root``, with the folder ``shown`` mounted at /mnt."""
    command = ["systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--volatile=overlay"]
    command += [f"--bind-ro={shown}:/mnt", "--boot", f"--directory={root}"]
    # Its services need cgroup v2, also if this machine has both versions.
    environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            container = wait_for(lambda: container_of(process), "systemd to come up")
            wait_for(lambda: is_up(container), "systemd to be up")
            yield container
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE_S)
            except subprocess.TimeoutExpired:
                process.kill()


def wait_for(look: Callable[[], T | None], what: str, within_s: float = PATIENCE_S) -> T:
    """Return the first true result of ``look``. Raises CheckFailedError after a timeout."""
    until = time.monotonic() + within_s
    while not (found := look()):
        if time.monotonic() > until:
            raise CheckFailedError(f"waited {within_s:.0f} s for {what}")
        time.sleep(0.1)
    return found


def container_of(process: subprocess.Popen[bytes]) -> Container | None:
    """Return the container of a systemd-nspawn once systemd runs in it, which is not systemd-nspawn's first child.

    Raises CheckFailedError if systemd-nspawn has ended.
    """
    if process.poll() is not None:
        raise CheckFailedError(f"systemd-nspawn ended at once: exit {process.returncode}")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return next((Container(int(child)) for child in children if _is_systemd_inside(Path("/proc") / child)), None)


def is_up(container: Container) -> bool:
    """Return whether systemd has finished booting."""
    return container.run("systemctl", "is-system-running").stdout.strip() in ("running", "degraded")


def _is_systemd_inside(process: Path) -> bool:
    """Return whether ``process`` is the container's PID 1: commands enter the namespaces of that one."""
    with contextlib.suppress(OSError):  # it has ended
        outside = (process / "ns" / "pid").readlink() == Path("/proc/self/ns/pid").readlink()
        return not outside and (process / "exe").readlink().name == "systemd"
    return False
