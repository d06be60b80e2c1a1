"""FAT volumes that mkfs.vfat made and mtools filled."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_flash.image.file_systems.fat import FatVolume
from fer_flash.image.file_systems.region import Region
from support.cards.file_systems import MIB, run_program

BITS = {16: 8 * MIB, 32: 36 * MIB}
"""Sizes that make a FAT16 and a FAT32, with clusters of one sector."""
STOCK = {
    "cmdline.txt": b"console=tty1 root=PARTUUID=1f2e3d4c-02\n",
    "CONFIG.TXT": b"[all]\n",
    "bcm2710-rpi-3-b.dtb": b"\xd0\x0d\xfe\xed" * 900,
    "empty": b"",
    "overlays/README": b"Introduction\n",
    "overlays/Überlänge, groß und klein.dtbo": bytes(range(256)) * 30,
    "overlays/deep/er/file.bin": b"x" * 1025,
}


def make_fat(folder: Path, bits: int) -> Path:
    """Create a FAT with the files of ``STOCK``."""
    path = folder / "made.fat"
    with path.open("wb") as stream:
        stream.truncate(BITS[bits])
    run_program(["mkfs.vfat", "-F", str(bits), "-s", "1", "-n", "BOOTFS", "-i", "1f2e3d4c", str(path)])
    for name, content in STOCK.items():
        (folder / "tree" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "tree" / name).write_bytes(content)
    top = sorted(str(each) for each in (folder / "tree").iterdir())
    run_program(["mcopy", "-s", "-i", str(path), *top, "::"])
    return path


@contextmanager
def volume(path: Path, mode: str = "r+") -> Iterator[FatVolume]:
    """Open the volume during the block."""
    with io.FileIO(path, mode) as stream:
        yield FatVolume(Region(stream, 0, path.stat().st_size, path.name))
