"""Read the files of an ext4 volume in an image."""

from __future__ import annotations

from fer_edge.errors import InputError
from fer_flash.image.file_systems.ext4_reader import FILE, FOLDER, Ext4Reader, Inode, looks_like_ext4
from fer_flash.image.file_systems.region import Region


class Ext4Volume:
    """The ext4 volume in ``region``; ``looks_like`` checks whether it is one.

    Paths are relative to the root and separated by "/", without a leading one. Symbolic links are followed. Missing or
    damaged files raise InputError.

    A volume that was copied while in use is refused: its journal holds changes, so a Pi that replays them would see
    other files. A stock image never has one.
    """

    looks_like = staticmethod(looks_like_ext4)

    def __init__(self, region: Region) -> None:
        self._region = region
        self._reader = Ext4Reader(region)
        block = self._reader.superblock
        if block.needs_recovery or not block.is_clean:
            raise InputError(
                f"{region.name}: was in use when it was copied (its journal holds changes, or it is marked as faulty); "
                f"use a fresh image, or repair a raw copy: e2fsck -f 'COPY.img?offset={region.start}'"
            )

    @property
    def start(self) -> int:
        """First byte of the volume in the image."""
        return self._region.start

    @property
    def free_bytes(self) -> int:
        """Free space in bytes, without the blocks that are reserved for root."""
        block = self._reader.superblock
        return max(0, block.free_blocks - block.reserved_blocks) * block.block_bytes

    def exists(self, path: str) -> bool:
        """Return whether there is such a file or folder; false for a dangling link."""
        return not self._reader.walk(path).missing

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        inode = self._found(path)
        if inode.kind != FILE:
            raise InputError(f"{self._region.name}: {path}: is not a file")
        return self._reader.content(inode)

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a folder; "" is the root. Bytes that are not UTF-8 are surrogate-escaped."""
        inode = self._found(path)
        if inode.kind != FOLDER:
            raise InputError(f"{self._region.name}: {path}: is not a folder")
        return sorted(self._reader.entries(inode))

    def _found(self, path: str) -> Inode:
        way = self._reader.walk(path)
        if way.missing:
            raise InputError(f"{self._region.name}: {path}: no such file or folder")
        return way.inode
