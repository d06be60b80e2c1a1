"""A whole card image: its partitions, and the two that a Raspberry Pi boots from."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TypeVar

from fer_edge.errors import InputError, OutputError, reason_of
from fer_edge.system.closing import Closing
from fer_flash.image.file_systems.ext4 import Ext4Volume
from fer_flash.image.file_systems.fat import FatVolume
from fer_flash.image.file_systems.region import Region
from fer_flash.image.partitions import Partition, read_partitions

_Volume = TypeVar("_Volume", FatVolume, Ext4Volume)
_BOOT_FILE = "config.txt"  # the first file that the Pi's firmware reads
_ROOT_FILE = "etc/os-release"


class CardImage(Closing):
    """A raw card image, open until ``close``; also a context manager.

    The boot partition is the first FAT with a config.txt, the root the first ext4 with an os-release. Partition types
    are not used: they are less reliable than the content.

    Args:
        path: the file.
        writable: open for writing as well; only the boot partition can be written.
        name: what errors about the content call the image (default: ``path``).
        target: what errors about writing call it (default: ``name``).

    Raises:
        InputError: if the file is missing or not an image, lacks a partition, or is damaged or truncated.
        OutputError: if the file cannot be opened for writing.
    """

    partitions: tuple[Partition, ...]
    boot: FatVolume
    root: Ext4Volume

    def __init__(
        self, path: Path, *, writable: bool = False, name: str | None = None, target: str | None = None
    ) -> None:
        self.path = path
        self.name = str(path) if name is None else name
        self._target = self.name if target is None else target
        self._stream = self._open(writable)
        try:
            whole = Region(self._stream, 0, self._stream.seek(0, io.SEEK_END), self.name)
            self.partitions = read_partitions(whole)
            self.boot = self._volume_with(_BOOT_FILE, FatVolume, "FAT", "a FAT")
            self.root = self._volume_with(_ROOT_FILE, Ext4Volume, "ext4", "an ext4")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._stream.close()

    def _open(self, writable: bool) -> io.FileIO:
        try:
            if self.path.is_dir():
                raise InputError(f"{self.name}: is a folder; give a card image")
            return io.FileIO(self.path, "r+" if writable else "r")
        except FileNotFoundError:
            raise InputError(f"{self.name}: no such file") from None
        except (OSError, ValueError) as error:  # ValueError: the name contains a NUL character
            if writable:
                raise OutputError(f"{self._target}: cannot open it: {reason_of(error)}") from error
            raise InputError(f"{self.name}: cannot open it: {reason_of(error)}") from error

    def _volume_with(self, file: str, volume_type: type[_Volume], kind: str, what: str) -> _Volume:
        """Return the first volume of that type that contains ``file``."""
        for each in self.partitions:
            suffix = f", partition {each.number} ({kind})"
            region = Region(self._stream, each.start, each.size, f"{self.name}{suffix}", f"{self._target}{suffix}")
            if volume_type.looks_like(region):
                volume = volume_type(region)
                if volume.exists(file):
                    return volume
        kinds = ", ".join(f"{each.number}: {each.kind}, {each.size / 1e6:.0f} MB" for each in self.partitions)
        raise InputError(
            f"{self.name}: not a Raspberry Pi OS image: none of its partitions ({kinds}) is {what} with {file}"
        )
