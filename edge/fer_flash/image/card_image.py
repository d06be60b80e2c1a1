"""A whole card image: its partitions, and the two that a Raspberry Pi boots from."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Self

from fer_edge.errors import InputError, OutputError
from fer_flash.image.file_systems.ext4 import Ext4Volume
from fer_flash.image.file_systems.fat import FatVolume
from fer_flash.image.file_systems.region import Region
from fer_flash.image.partitions import Partition, read_partitions

_BOOT_FILE = "config.txt"  # the first file that the Pi's firmware reads
_ROOT_FILE = "etc/os-release"


class CardImage:
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
            self.boot, self.root = self._boot(), self._root()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file. Idempotent."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, writable: bool) -> io.FileIO:
        try:
            if self.path.is_dir():
                raise InputError(f"{self.name}: is a folder; give a card image")
            return io.FileIO(self.path, "r+" if writable else "r")
        except FileNotFoundError:
            raise InputError(f"{self.name}: no such file") from None
        except (OSError, ValueError) as error:  # ValueError: the name contains a NUL character
            reason = (isinstance(error, OSError) and error.strerror) or str(error)
            if writable:
                raise OutputError(f"{self._target}: cannot open it: {reason}") from error
            raise InputError(f"{self.name}: cannot open it: {reason}") from error

    def _boot(self) -> FatVolume:
        for region in self._regions("FAT"):
            if FatVolume.looks_like(region):
                volume = FatVolume(region)
                if volume.exists(_BOOT_FILE):
                    return volume
        raise self._not_found(f"a FAT with {_BOOT_FILE}")

    def _root(self) -> Ext4Volume:
        for region in self._regions("ext4"):
            if Ext4Volume.looks_like(region):
                volume = Ext4Volume(region)
                if volume.exists(_ROOT_FILE):
                    return volume
        raise self._not_found(f"an ext4 with {_ROOT_FILE}")

    def _regions(self, kind: str) -> list[Region]:
        suffixes = [f", partition {each.number} ({kind})" for each in self.partitions]
        return [
            Region(self._stream, each.start, each.size, f"{self.name}{suffix}", f"{self._target}{suffix}")
            for each, suffix in zip(self.partitions, suffixes, strict=True)
        ]

    def _not_found(self, what: str) -> InputError:
        kinds = ", ".join(f"{each.number}: {each.kind}, {each.size / 1e6:.0f} MB" for each in self.partitions)
        return InputError(f"{self.name}: not a Raspberry Pi OS image: none of its partitions ({kinds}) is {what}")
