"""A device in a mount namespace of its own: this system's programs, with /etc, /opt, /run and /var/lib to lose.

``systemctl`` is a stand-in there, since systemd does not run: it notes what it is asked, and a service "starts" when
the program that its unit names takes the settings. The container of ``make test-image`` has the real one.
"""

from __future__ import annotations

import contextlib
import functools
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

SYSTEM_PYTHON = Path("/usr/bin/python3")
"""What a device has; ``install.sh`` takes no other."""
_PREPARE = """\
set -e
mount -t tmpfs none "$1"
for folder in etc opt var/lib usr/bin; do
    name=$(echo "$folder" | tr / -)
    mkdir "$1/$name" "$1/$name-work"
    mount -t overlay none -o "lowerdir=/$folder,upperdir=$1/$name,workdir=$1/$name-work" "/$folder"
done
mount -t tmpfs none /run
mkdir -p /run/systemd/system /run/sshd /run/lock
cp "$2" /usr/bin/systemctl
rm -rf /opt/fer-edge /etc/fer-edge /var/lib/fer-edge
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
start() {
    command=$(sed -n 's/^ExecStart=//p' "$unit") || exit 5
    if told=$($command --print-config 2>&1 >/dev/null) && ! [ -e /run/refuse-start ]; then
        echo active >/run/fer-edge.state
        return
    fi
    echo failed >/run/fer-edge.state
    echo "Job for fer-edge.service failed: ${told:-refused}" >&2
    exit 1
}
case $verb in
    start | restart) start ;;
    stop) echo inactive >/run/fer-edge.state ;;
    disable) case "$*" in *--now*) echo inactive >/run/fer-edge.state ;; esac ;;
    is-active) cat /run/fer-edge.state 2>/dev/null || echo inactive ;;
    show) case "$*" in *NRestarts*--value* | *--value*NRestarts*) echo 0 ;; *) echo LoadState=not-found ;; esac ;;
esac
"""


@functools.cache
def why_no_device() -> str | None:
    """What this machine lacks for one; None where it can have one."""
    if os.geteuid() != 0:
        return "only root has mount namespaces"
    if missing := [program for program in ("unshare", "nsenter", "flock") if shutil.which(program) is None]:
        return f"needs {' '.join(missing)}: apt-get install util-linux"
    tried = subprocess.run(
        ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True, check=False
    )
    return "mounting is not allowed here" if tried.returncode else None


class Device:
    """What runs in the namespace of the process ``leader``."""

    def __init__(self, leader: int) -> None:
        self._leader = leader

    def run(self, *words: object, stdin: str = "", timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
        """Run a command there to its end, whatever that is."""
        return subprocess.run(
            self.command(*words), input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )

    def command(self, *words: object) -> list[str]:
        """The words that run a command there."""
        clean = ["env", "-i", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "LANG=C.UTF-8"]
        return ["nsenter", f"--mount=/proc/{self._leader}/ns/mnt", *clean, *map(str, words)]

    def path(self, name: str) -> Path:
        """Where the file ``name`` of the device is seen from here; an absolute link in it leads elsewhere."""
        return Path(f"/proc/{self._leader}/root") / name.lstrip("/")

    def asked_of_systemctl(self) -> list[str]:
        """What the stand-in was asked, a line for each call."""
        log = self.path("/run/systemctl.log")
        return log.read_text().splitlines() if log.exists() else []


@contextlib.contextmanager
def device(folder: Path) -> Iterator[Device]:
    """A fresh one; ``folder`` is where its own files may lie."""
    (scratch := folder / "device").mkdir()
    (systemctl := folder / "systemctl").write_text(_SYSTEMCTL)
    systemctl.chmod(0o755)
    command = ["unshare", "--mount", "sh", "-c", _PREPARE, "device", str(scratch), str(systemctl)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as leader:
        try:
            assert leader.stdout is not None
            assert leader.stdout.readline() == "ready\n", "the device cannot be made"
            yield Device(leader.pid)
        finally:
            leader.kill()
