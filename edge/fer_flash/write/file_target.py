"""A regular file as the target: whether the system uses it, and whether it is a card image.

The kernel refuses to write to a mounted block device that is opened exclusively, but not to the file below a loop
device, and a virtual machine's disk looks like any other large file.
"""

from __future__ import annotations

import fcntl
import io
import os
import re
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from fer_edge.errors import InputError
from fer_flash.image.file_systems.fat import FatVolume
from fer_flash.image.file_systems.region import Region
from fer_flash.image.partitions import read_partitions

_BOOT_FILE = "config.txt"  # the first file that a Pi's firmware reads
_LOOP_GET_STATUS64 = 0x4C05  # include/uapi/linux/loop.h
_LOOP_INFO64 = struct.Struct("<QQ216x")  # lo_device, lo_inode, and what is not needed here


def use_of(path: Path) -> str | None:
    """Return how the running system uses the file ``path``: as a loop device, swap, or mounted; None if it does not.

    A device-mapper target has a loop device between it and a file.
    """
    for device in _loop_devices(path):
        return f"it is the content of {device}; detach that first: losetup -d {device}"
    for swap in _first_words(Path("/proc/swaps"), skip=1):
        if _is_same(path, swap):
            return "it is in use as swap; swapoff it first"
    for source, mount in _mounts():
        if _is_same(path, source):
            return f"mounted at {mount}; unmount it first"
    return None


def is_blank(path: Path) -> bool:
    """Return whether the file has no content: it is empty, or has a size and no data, as ``truncate`` makes it."""
    with path.open("rb") as stream:
        try:
            os.lseek(stream.fileno(), 0, os.SEEK_DATA)
        except OSError:  # ENXIO, no data; not EINVAL, since Linux emulates SEEK_DATA on every file system
            return True
    return False


def is_card_image(path: Path) -> bool:
    """Return whether the file is what was written to a card before: it has a FAT with a config.txt."""
    try:
        with io.FileIO(path) as stream:
            whole = Region(stream, 0, stream.seek(0, io.SEEK_END), str(path))
            return any(_boots(Region(stream, each.start, each.size, str(path))) for each in read_partitions(whole))
    except (InputError, OSError):
        return False


def _boots(region: Region) -> bool:
    with suppress(InputError):  # a damaged FAT is none to boot from
        return FatVolume.looks_like(region) and FatVolume(region).exists(_BOOT_FILE)
    return False


def _loop_devices(path: Path) -> Iterator[str]:
    """Yield the loop devices whose content is the file, whatever name it was attached by."""
    status = path.stat()
    wanted = (status.st_dev, status.st_ino)
    for folder in Path("/sys/block").glob("loop*"):
        device = f"/dev/{folder.name}"
        with suppress(OSError):  # not attached
            name = (folder / "loop" / "backing_file").read_text(errors="surrogateescape").removesuffix("\n")
            # The name may be from another mount namespace, such as a container's. The numbers are the same in each, but
            # reading them needs root, and overlayfs has others.
            if _is_same(path, name) or _backing(device) == wanted:
                yield device


def _backing(device: str) -> tuple[int, int] | None:
    """Return device number and inode of the file below a loop device; None without permission to ask."""
    with suppress(OSError):
        fd = os.open(device, os.O_RDONLY | os.O_CLOEXEC)
        try:
            device_number, inode = _LOOP_INFO64.unpack(fcntl.ioctl(fd, _LOOP_GET_STATUS64, bytes(_LOOP_INFO64.size)))
            return device_number, inode
        finally:
            os.close(fd)
    return None


def _first_words(table: Path, *, skip: int) -> Iterator[str]:
    with suppress(OSError):
        for line in table.read_text(errors="surrogateescape").splitlines()[skip:]:
            yield _unescaped(line.split()[0])


def _mounts() -> Iterator[tuple[str, str]]:
    """Yield source and mount point of each mounted file system (proc_pid_mountinfo(5))."""
    with suppress(OSError):
        for line in Path("/proc/self/mountinfo").read_text(errors="surrogateescape").splitlines():
            before, _, after = line.partition(" - ")
            yield _unescaped(after.split(" ")[1]), _unescaped(before.split(" ")[4])


def _unescaped(word: str) -> str:
    r"""Return a word of a table in /proc, where a blank is \040."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), word)


def _is_same(path: Path, other: str) -> bool:
    try:
        return other.startswith("/") and path.samefile(other)
    except (OSError, ValueError):
        return False
