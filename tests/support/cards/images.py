"""Small card images, and devices to write them to."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import os
import random
import shutil
import struct
import subprocess
import zipfile
from collections.abc import Iterator
from pathlib import Path

MIB = 1 << 20


def partition_table(partitions: list[tuple[int, int]]) -> bytes:
    """An MBR, 512 bytes, with Linux partitions of (first, count) sectors of 512 bytes."""
    entries = b"".join(
        struct.pack("<B3sB3sII", 0, b"\xfe\xff\xff", 0x83, b"\xfe\xff\xff", first, count) for first, count in partitions
    )
    return bytes(446) + entries.ljust(64, b"\0") + b"\x55\xaa"


def used_card(size: int, old: bytes) -> bytes:
    """Create a used card of ``size`` bytes, 6 MiB or more: a FAT16 with a config.txt, and ``old`` bytes."""
    sectors, table_sectors = 4200, 17
    boot = struct.pack(
        "<3s8sHBHBHHBHHHII", b"\xeb\x3c\x90", b"test", 512, 1, 1, 1, 16, sectors, 0xF8, table_sectors, 0, 0, 0, 0
    )
    boot = (boot + struct.pack("<BBB4s11s8s", 0x80, 0, 0x29, b"1234", b"BOOTFS     ", b"FAT16   ")).ljust(510, b"\0")
    table = struct.pack("<HH", 0xFFF8, 0xFFFF).ljust(table_sectors * 512, b"\0")
    root = struct.pack("<11sB20x", b"CONFIG  TXT", 0x20).ljust(512, b"\0")
    fat = boot + b"\x55\xaa" + table + root
    return (partition_table([(2048, sectors)]).ljust(MIB, old) + fat).ljust(size, old)


def write_image(path: Path, size: int, *, seed: int = 1, zeros: tuple[tuple[int, int], ...] = ()) -> Path:
    """An image of ``size`` bytes that begins with a partition table; ``zeros`` are its holes, as (start, end)."""
    # Packs quickly, and all of its 4096-byte blocks differ.
    noise = random.Random(seed).randbytes(4088)
    data = bytearray(b"".join(block.to_bytes(8, "big") + noise for block in range(size // 4096 + 1))[:size])
    data[:512] = partition_table([(2048, max(size // 512 - 2048, 1))])
    with path.open("wb") as stream:
        at = 0
        for start, end in [*sorted(zeros), (size, size)]:
            stream.seek(at)
            stream.write(data[at:start])
            at = end
        stream.truncate(size)
    return path


def as_it_is(image: Path) -> Path:
    """The image itself."""
    return image


def xz(image: Path) -> Path:
    """Write the image next to it as .img.xz, in two streams with padding."""
    path = image.with_name("os.img.xz")
    data = image.read_bytes()
    path.write_bytes(lzma.compress(data[:MIB], preset=0) + bytes(8) + lzma.compress(data[MIB:], preset=0) + bytes(4))
    return path


def gz(image: Path) -> Path:
    """Write the image next to it as .img.gz."""
    path = image.with_name("os.img.gz")
    path.write_bytes(gzip.compress(image.read_bytes(), 1))
    return path


def zipped(image: Path) -> Path:
    """Write the image next to it in a .zip with other files, as macOS creates them."""
    path = image.with_name("os.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("__MACOSX/._os.img", "notes")
        archive.writestr("README.txt", "read me")
        archive.write(image, "2026/os.img")
    return path


def why_no_loop_device() -> str | None:
    """Return why loop devices cannot be used here; None if they can."""
    if os.geteuid() != 0:
        return "loop devices need root"
    if not Path("/dev/loop-control").exists():
        return "no loop devices on this machine"
    missing = [name for name in ("losetup", "partx", "mkfs.ext4") if shutil.which(name) is None]
    return f"{', '.join(missing)} not installed" if missing else None


@contextlib.contextmanager
def loop_device(backing: Path) -> Iterator[str]:
    """Yield the name of a loop device over ``backing`` for the duration of the block."""
    found = subprocess.run(["losetup", "--find", "--show", backing], capture_output=True, text=True, check=True)
    device = found.stdout.strip()
    try:
        yield device
    finally:
        subprocess.run(["losetup", "--detach", device], check=True)
