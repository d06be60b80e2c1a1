"""A container that boots from a disk, like a Pi from its card, and can lose its power."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

from arm.sandbox import run
from fer_edge.errors import CheckFailedError
from systemd.container import container_of, wait_for

_DISK_MIB = 4096
_SHUTDOWN, _WITHOUT_THE_LOG = 0x8004587D, 2
"""EXT4_IOC_SHUTDOWN and EXT4_GOING_FLAGS_NOLOGFLUSH (Linux, fs/ext4/ext4.h): after it, no byte reaches the disk."""
_OVERLAID = """\
mount -t overlay none -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root" && shift 2 && exec "$@"
"""
_REBOOT = 133
"""Exit code of systemd-nspawn --keep-unit if its container wants to restart."""
_FIRMWARE_IGNORES = "init="
"""Raspberry Pi OS enlarges the root file system at the first start, removes this word from cmdline.txt, and restarts
(raspberrypi-sys-mods, usr/lib/raspberrypi-sys-mods/firstboot). The tests assume that this has been done."""


class Machine:
    """A container that boots from a disk and can lose its power; a context manager.

    ``root`` is the system, which is not changed; ``boot`` is copied to the disk. Writes go to an ext4 image in
    ``folder``, so that unsynced ones can be dropped.
    """

    def __init__(self, root: Path, boot: Path, shown: Path, folder: Path) -> None:
        self._root, self._stock_boot, self._shown = root, boot, shown
        self._image, self._disk = folder / "disk.img", folder / "disk"
        self.console = folder / "console.txt"
        """Everything that was written to the console, in all boots."""

    @property
    def boot(self) -> Path:
        """Path of the boot partition's files on this machine."""
        return self._disk / "boot"

    @property
    def written(self) -> Path:
        """Path of the files that differ from the stand-in's root file system."""
        return self._disk / "upper"

    @property
    def aside(self) -> Path:
        """A folder on the same disk that is not visible in the machine."""
        return self._disk / "aside"

    def __enter__(self) -> Machine:
        self._image.touch()
        os.truncate(self._image, _DISK_MIB << 20)
        run(["mkfs.ext4", "-q", self._image])
        self._disk.mkdir()
        self._mount()
        try:
            for name in ("upper", "work", "root", "aside"):
                (self._disk / name).mkdir()
            shutil.copytree(self._stock_boot, self.boot)
            os.sync()
        except BaseException:
            self._unmount()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._unmount()
        self._image.unlink()

    @contextlib.contextmanager
    def started(self) -> Iterator[Started]:
        """Boot with the kernel command line in cmdline.txt, and power off at the end."""
        words = (self.boot / "cmdline.txt").read_text().split()
        command = [
            "unshare",
            "--mount",
            "sh",
            "-c",
            _OVERLAID,
            "sh",
            str(self._root),
            str(self._disk),
            "systemd-nspawn",
        ]
        command += ["--quiet", "--register=no", "--keep-unit", "--private-network", f"--directory={self._disk}/root"]
        command += ["--timezone=off", "--resolv-conf=off", "--link-journal=no"]  # otherwise it copies this machine's
        command += [f"--bind={self.boot}:/boot/firmware", f"--bind-ro={self._shown}:/mnt", "--boot"]
        command += [word for word in words if not word.startswith(_FIRMWARE_IGNORES)]
        environment = {**os.environ, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"}
        with (
            self.console.open("ab") as console,
            subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=console, stderr=console
            ) as process,
        ):
            started = Started(process, self._disk)
            try:
                yield started
            finally:
                started.switch_off()
        if started.lost_power:
            self._unmount()
            self._mount()

    def _mount(self) -> None:
        run(["mount", "-o", "loop", self._image, self._disk])

    def _unmount(self) -> None:
        # A killed process may take a moment to release it.
        command = ["umount", str(self._disk)]
        wait_for(lambda: subprocess.run(command, capture_output=True, check=False).returncode == 0, "umount", 60)
        # A mount namespace that another program made meanwhile keeps the file system, which would be mounted again.
        wait_for(self._is_released, "other mount namespaces to release the disk", 300)

    def _is_released(self) -> bool:
        found = subprocess.run(["losetup", "--associated", self._image], capture_output=True, check=True)
        return not found.stdout


class Started:
    """A running machine."""

    def __init__(self, process: subprocess.Popen[bytes], disk: Path) -> None:
        self._process, self._disk = process, disk
        self.lost_power = False
        self.container = wait_for(lambda: container_of(process), "systemd to come up")

    def wait_for_restart(self) -> None:
        """Wait until it wants to restart. Raises CheckFailedError if it ends in another way, or not in time."""
        ended = wait_for(lambda: [code] if (code := self._process.poll()) is not None else None, "a restart")
        if ended != [_REBOOT]:
            raise CheckFailedError(f"it did not restart but end: systemd-nspawn's exit {ended[0]}")

    def lose_power(self) -> None:
        """Cut the power: data that are not yet on the disk are lost."""
        self.lost_power = True
        folder = os.open(self._disk, os.O_RDONLY)
        try:
            fcntl.ioctl(folder, _SHUTDOWN, struct.pack("I", _WITHOUT_THE_LOG))
        finally:
            os.close(folder)
        os.kill(self.container.leader, signal.SIGKILL)
        self._process.wait()

    def switch_off(self) -> None:
        """Shut it down. Idempotent."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGTERM)
        try:
            self._process.wait(120)
        except subprocess.TimeoutExpired:
            os.kill(self.container.leader, signal.SIGKILL)
            self._process.wait()
