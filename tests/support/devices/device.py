"""A device in a separate mount namespace: this system's programs, and copies of its folders.

systemd does not run in it. A fake ``systemctl`` records its calls, and a service "starts" if the program in its unit
accepts the settings. The container of ``make test-image`` has the real one. The packages of the tests' environment are
system packages in it, like those from apt on a device, which keeps the payload small.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

from fer_flash.payload.releases import RELEASES, Release

MakePayload = Callable[..., Path]
"""The type of the fixture ``make_payload``."""
SYSTEM_PYTHON = Path("/usr/bin/python3")
"""The Python of a device, the only one that ``install.sh`` uses."""
_VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
_TRY = """\
set -e
mount -t tmpfs none /mnt
mkdir /mnt/a /mnt/b
mount -t overlay none -o lowerdir=/opt,upperdir=/mnt/a,workdir=/mnt/b /opt
"""
_PREPARE = """\
set -e
mount -t tmpfs none "$1"
mkdir "$1/packages"
mount --bind "$3" "$1/packages"
for folder in etc opt usr var; do
    mkdir "$1/$folder" "$1/$folder-work"
    mount -t overlay none -o "lowerdir=/$folder,upperdir=$1/$folder,workdir=$1/$folder-work" "/$folder"
done
mount -t tmpfs none /root
mount -t tmpfs none /home
mount -t tmpfs none /run
mount -t tmpfs none /boot
mkdir -p /boot/firmware /run/systemd/system /run/sshd /run/lock
cp "$2" /usr/bin/systemctl
rm -rf /opt/fer-edge /etc/fer-edge /var/lib/fer-edge /var/lib/fer-edge-first-boot
for site in /usr/local/lib/python3.*/dist-packages; do
    echo "$1/packages" >"$site/of-the-tests.pth"
done
echo ready
exec sleep 3600
"""
_SYSTEMCTL = """\
#!/bin/sh
# A stand-in: one service, whose state is a file.
echo "$*" >>/run/systemctl.log
verb=
for word in "$@"; do
    case $word in -*) ;; *) verb=${verb:-$word} ;; esac
done
unit=/etc/systemd/system/fer-edge.service
case "$verb $*" in
    *fer-edge-first-boot.service) [ "$verb" != start ] || sh /var/lib/fer-edge-first-boot/first-boot.sh; exit ;;
    *systemd-modules-load.service) exit ;;
esac
start() {
    [ ! -e /run/slow-start ] || sleep 2
    command=$(sed -n 's/^ExecStart=//p' "$unit") || exit 5
    if message=$($command --print-config 2>&1 >/dev/null) && ! [ -e /run/refuse-start ]; then
        echo active >/run/fer-edge.state
        return
    fi
    echo failed >/run/fer-edge.state
    echo "Job for fer-edge.service failed: ${message:-refused}" >&2
    exit 1
}
case $verb in
    start | restart) case "$*" in *--no-block*) start >/dev/null 2>&1 & ;; *) start ;; esac ;;
    stop) echo inactive >/run/fer-edge.state ;;
    disable) case "$*" in *--now*) echo inactive >/run/fer-edge.state ;; esac ;;
    is-active) cat /run/fer-edge.state 2>/dev/null || echo inactive ;;
    show) case "$*" in *NRestarts*--value* | *--value*NRestarts*) echo 0 ;; *) echo LoadState=not-found ;; esac ;;
esac
"""


@functools.cache
def why_no_device() -> str | None:
    """Return what this machine lacks for a device; None if it can have one."""
    if os.geteuid() != 0:
        return "only root has mount namespaces"
    if missing := [program for program in ("unshare", "nsenter", "flock") if shutil.which(program) is None]:
        return f"needs {' '.join(missing)}: apt-get install util-linux"
    if not any(release.python == _VERSION for release in RELEASES.values()):
        return f"no device has Python {_VERSION}"
    asked = [SYSTEM_PYTHON, "-c", "import sys, venv; print('%d.%d' % sys.version_info[:2])"]
    if not SYSTEM_PYTHON.exists() or _said(asked) != _VERSION:
        return f"needs {SYSTEM_PYTHON} {_VERSION} with its module venv"
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", _TRY], capture_output=True, check=False)
    return "mounting is not allowed here" if tried.returncode else None


def _said(command: list[str | Path]) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def this_release() -> Release:
    """Return the release whose Python runs the tests; the device has this release."""
    return next(release for release in RELEASES.values() if release.python == _VERSION)


class Device:
    """Commands in the namespace of the process ``leader``."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def run(self, *words: object, stdin: str = "", timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command there; return its result, also if it fails."""
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def command(self, *words: object) -> list[str]:
        """Return the command line that runs a command there."""
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        return ["nsenter", f"--mount=/proc/{self._leader}/ns/mnt", *clean, *map(str, words)]

    def path(self, name: str) -> Path:
        """Return the path of the device's file ``name`` on this machine; absolute links in it lead elsewhere."""
        return Path(f"/proc/{self._leader}/root") / name.lstrip("/")

    def asked_of_systemctl(self) -> list[str]:
        """Return the calls of the fake systemctl, one per line."""
        log = self.path("/run/systemctl.log")
        return log.read_text().splitlines() if log.exists() else []


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Device]:
    """Yield a new device, with its files in ``folder``."""
    (scratch := folder / "device").mkdir()
    (systemctl := folder / "systemctl").write_text(_SYSTEMCTL)
    systemctl.chmod(0o755)
    packages = sysconfig.get_path("purelib")
    command = ["unshare", "--mount", "sh", "-c", _PREPARE, "device", str(scratch), str(systemctl), packages]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as leader:
        try:
            assert leader.stdout is not None
            assert leader.stdout.readline() == "ready\n", "the device cannot be made"
            yield Device(leader.pid)
        finally:
            leader.kill()
