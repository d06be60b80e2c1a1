"""A whole card image: its partitions, and the two that a Raspberry Pi starts from."""

from __future__ import annotations

import io
from pathlib import Path
from types import TracebackType
from typing import Self

from fer_edge.errors import FerEdgeError, InputError, OutputError
from fer_flash.image.file_systems.ext4 import Ext4Volume
from fer_flash.image.file_systems.fat import FatVolume
from fer_flash.image.file_systems.region import Region
from fer_flash.image.partitions import Partition, read_partitions

_BOOT_MARK = "config.txt"  # what the Pi's firmware reads first
_ROOT_MARK = "etc/os-release"


class CardImage:
    """A raw image of a card, open until ``close``, as a context manager too.

    Its boot partition is the first FAT that holds config.txt, its root the first ext4 with an os-release: by what is in
    them, since the types that a partition table names say less. Raises InputError where either is missing, and for
    what is no image, is cut off or damaged; OutputError where the file must be writable and is not.
    """

    partitions: tuple[Partition, ...]
    boot: FatVolume
    root: Ext4Volume

    def __init__(self, path: Path, *, writable: bool = False) -> None:
        self.path = path
        self._stream = _open(path, writable)
        try:
            whole = Region(self._stream, 0, self._stream.seek(0, io.SEEK_END), str(path))
            self.partitions = read_partitions(whole)
            self.boot, self.root = self._boot(), self._root()
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Close the file; harmless when called again."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _boot(self) -> FatVolume:
        for region in self._regions("FAT"):
            if FatVolume.looks_like(region):
                volume = FatVolume(region)
                if volume.exists(_BOOT_MARK):
                    return volume
        raise self._not_found(f"a FAT with {_BOOT_MARK}")

    def _root(self) -> Ext4Volume:
        for region in self._regions("ext4"):
            if Ext4Volume.looks_like(region):
                volume = Ext4Volume(region, self.path)
                if volume.exists(_ROOT_MARK):
                    return volume
        raise self._not_found(f"an ext4 with {_ROOT_MARK}")

    def _regions(self, kind: str) -> list[Region]:
        return [
            Region(self._stream, each.start, each.size, f"{self.path}, partition {each.number} ({kind})")
            for each in self.partitions
        ]

    def _not_found(self, what: str) -> FerEdgeError:
        kinds = ", ".join(f"{each.number}: {each.kind}, {each.size / 1e6:.0f} MB" for each in self.partitions)
        return InputError(
            f"{self.path}: no Raspberry Pi OS image: looked for {what} in its partitions ({kinds}) and found none"
        )


def _open(path: Path, writable: bool) -> io.FileIO:
    try:
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give a card image")
        return io.FileIO(path, "r+" if writable else "r")
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        kind = OutputError if writable else InputError
        raise kind(f"{path}: cannot open it: {reason}") from error
