"""Read the files of an ext4 volume: superblock, inodes, extents, folders and links.

See the kernel's Documentation/filesystems/ext4. Own code, because the packages on PyPI do not fit: ``ext4`` pins its
dependencies to one version, and ``dissect.extfs`` is AGPL. Checksums are not checked: a stock image is verified as a
whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fer_edge.errors import InputError
from fer_flash.image.file_systems.region import Region, parts_of

_FOLDER, _FILE, _LINK = 0o040000, 0o100000, 0o120000  # values of ``_Inode.kind``
_MAX_FILE = 1 << 28  # bytes: no file that is needed here has this size

_SUPERBLOCK_AT, _SUPERBLOCK_BYTES, _MAGIC = 1024, 1024, b"\x53\xef"
_ROOT_INODE, _MAX_LINKS, _MAX_DEPTH = 2, 40, 5
_FAST_LINK = 60  # bytes; the target of a shorter link is in the inode itself
_EXTENTS_MAGIC, _EXTENTS_FLAG = 0xF30A, 0x80000
_UNWRITTEN_FROM = 32768  # a longer extent reads as zeros; its length is the excess over this value

# super.rst, "Incompatible feature set": filetype, recover, extents, 64bit, mmp, flex_bg, ea_inode, csum_seed, largedir.
# A file system with an unknown incompatible feature must not be read.
_NEEDS_RECOVERY = 0x4
_64BIT = 0x80
_KNOWN = 0x2 | _NEEDS_RECOVERY | 0x40 | _64BIT | 0x100 | 0x200 | 0x400 | 0x2000 | 0x4000
_BIGALLOC = 0x200  # of the read-only compatible feature set
_STATE_CLEAN, _STATE_ERRORS = 1, 2


@dataclass(frozen=True, slots=True)
class _Superblock:
    """The values of the superblock; sizes in bytes."""

    block_bytes: int
    free_blocks: int
    reserved_blocks: int
    first_block: int
    inodes: int
    inodes_per_group: int
    inode_bytes: int
    descriptor_bytes: int
    in_use: bool


@dataclass(frozen=True, slots=True)
class _Inode:
    """A file, folder or link; ``body`` refers to its content."""

    number: int
    kind: int
    size: int
    flags: int
    body: bytes


class Ext4Volume:
    """The ext4 volume in ``region``; ``looks_like`` checks whether it is one.

    Paths are relative to the root and separated by "/", without a leading one. Symbolic links are followed. Missing or
    damaged files raise InputError.

    A volume that was copied while in use is refused: its journal holds changes, so a Pi that replays them would see
    other files. A stock image never has one.
    """

    def __init__(self, region: Region) -> None:
        self._region = region
        self._superblock = _read_superblock(region)
        self.start = region.start
        """First byte of the volume in the image."""
        if self._superblock.in_use:
            raise InputError(
                f"{region.name}: was in use when it was copied (its journal holds changes, or it is marked as faulty); "
                f"use a fresh image, or repair a raw copy: e2fsck -f 'COPY.img?offset={region.start}'"
            )

    @staticmethod
    def looks_like(region: Region) -> bool:
        """Return whether the region has an ext4 superblock."""
        fits = region.size >= _SUPERBLOCK_AT + _SUPERBLOCK_BYTES
        return fits and region.read(_SUPERBLOCK_AT + 56, len(_MAGIC)) == _MAGIC

    @property
    def free_bytes(self) -> int:
        """Free space in bytes, without the blocks that are reserved for root."""
        block = self._superblock
        return max(0, block.free_blocks - block.reserved_blocks) * block.block_bytes

    def exists(self, path: str) -> bool:
        """Return whether there is such a file or folder; false for a dangling link."""
        return self._find(path) is not None

    def read(self, path: str) -> bytes:
        """Return the content of a file."""
        return self._content(self._found(path, _FILE, "a file"))

    def listdir(self, path: str) -> list[str]:
        """Return the sorted names in a folder; "" is the root. Bytes that are not UTF-8 are surrogate-escaped."""
        return sorted(self._entries(self._found(path, _FOLDER, "a folder")))

    def _found(self, path: str, kind: int, what: str) -> _Inode:
        inode = self._find(path)
        if inode is None or inode.kind != kind:
            reason = "no such file or folder" if inode is None else f"is not {what}"
            raise InputError(f"{self._region.name}: {path}: {reason}")
        return inode

    def _find(self, path: str) -> _Inode | None:
        """Return the inode at ``path`` after its links. Raises InputError if they form a loop."""
        todo = parts_of(path)[::-1]
        inodes = [self._inode(_ROOT_INODE)]  # of the folders above, from the root
        followed = 0
        while todo:
            name = todo.pop()
            if name == "..":
                inodes = inodes[:-1] or inodes
                continue
            number = self._entries(inodes[-1]).get(name) if inodes[-1].kind == _FOLDER else None
            if number is None:
                return None
            inode = self._inode(number)
            if inode.kind != _LINK:
                inodes.append(inode)
                continue
            followed += 1
            if followed > _MAX_LINKS:
                raise InputError(f"{self._region.name}: {path}: its links form a loop")
            target = self._content(inode).decode("utf-8", errors="surrogateescape")
            if target.startswith("/"):
                inodes = inodes[:1]
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        return inodes[-1]

    def _inode(self, number: int) -> _Inode:
        """Return the inode with that number."""
        block = self._superblock
        if not 1 <= number <= block.inodes:
            raise self._region.damaged(f"a folder refers to the inode {number}")
        group, index = divmod(number - 1, block.inodes_per_group)
        at = (block.first_block + 1) * block.block_bytes + group * block.descriptor_bytes
        descriptor = self._region.read(at, block.descriptor_bytes)
        [table] = struct.unpack_from("<I", descriptor, 8)
        if block.descriptor_bytes >= 64:
            table |= struct.unpack_from("<I", descriptor, 40)[0] << 32
        raw = self._region.read(table * block.block_bytes + index * block.inode_bytes, 128)
        mode, low, flags, body, high = struct.unpack_from("<H2xI24xI4x60s8xI", raw)
        return _Inode(number, mode & 0o170000, low | high << 32, flags, body)

    def _entries(self, folder: _Inode) -> dict[str, int]:
        """Return names and inodes in a folder, without "." and "..". Its index (htree) is hidden in empty entries."""
        data, at = self._content(folder), 0
        entries = {}
        while at + 8 <= len(data):
            inode, length, name_length = struct.unpack_from("<IHB", data, at)
            if length < 8 or length % 4 or name_length > length - 8:
                raise self._region.damaged("a folder with inconsistent entries")
            name = data[at + 8 : at + 8 + name_length]
            if inode and name not in (b".", b".."):
                entries[name.decode("utf-8", errors="surrogateescape")] = inode
            at += length
        return entries

    def _content(self, inode: _Inode) -> bytes:
        """Return the content of a file, a folder or a link."""
        if inode.kind == _LINK and inode.size < _FAST_LINK and not inode.flags & _EXTENTS_FLAG:
            return inode.body[: inode.size]
        if inode.size > _MAX_FILE:
            raise InputError(f"{self._region.name}: a file of {inode.size} bytes is too large to read")
        size = self._superblock.block_bytes
        blocks = -(-inode.size // size)
        has_extents = inode.flags & _EXTENTS_FLAG
        if inode.size and not has_extents:
            raise InputError(f"{self._region.name}: inode {inode.number} does not use extents, as files of ext4 do")
        data, behind = bytearray(blocks * size), 0  # blocks without an extent read as zeros
        for logical, count, physical in self._extents(inode.body, None) if has_extents else ():
            if logical < behind:
                raise self._region.damaged("a file with overlapping extents")
            behind = logical + count
            used = min(count, blocks - logical)  # blocks may be allocated beyond the end
            if physical and used > 0:
                data[logical * size : (logical + used) * size] = self._region.read(physical * size, used * size)
        return bytes(memoryview(data)[: inode.size])

    def _extents(self, node: bytes, expected: int | None) -> Iterator[tuple[int, int, int]]:
        """Yield the extents below a node of the tree; ``expected`` is its depth, None for the root.

        Each is the first block in the file, the number of blocks, and the first block in the volume, 0 if they read as
        zeros.
        """
        magic, count, _, depth = struct.unpack_from("<4H", node)
        fits = magic == _EXTENTS_MAGIC and 12 + count * 12 <= len(node) and depth <= _MAX_DEPTH
        if not fits or (expected is not None and (depth != expected or not count)):
            raise self._region.damaged("a file with inconsistent extents")
        for at in range(12, 12 + count * 12, 12):
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, at)
                size = self._superblock.block_bytes
                yield from self._extents(self._region.read((low | high << 32) * size, size), depth - 1)
            else:
                logical, blocks, high, low = struct.unpack_from("<IHHI", node, at)
                written = blocks <= _UNWRITTEN_FROM
                yield logical, blocks % _UNWRITTEN_FROM or blocks, (low | high << 32) if written else 0


def _read_superblock(region: Region) -> _Superblock:
    """Return the superblock. Raises InputError if it is inconsistent or requires an unknown feature."""
    data = region.read(_SUPERBLOCK_AT, _SUPERBLOCK_BYTES)
    inodes, blocks, reserved, free, _, first, log_size = struct.unpack_from("<7I", data)
    blocks_per_group, _, inodes_per_group = struct.unpack_from("<3I", data, 32)
    [state] = struct.unpack_from("<H", data, 58)
    [revision] = struct.unpack_from("<I", data, 76)
    inode_bytes, _, _, incompatible, read_only = struct.unpack_from("<HHIII", data, 88)
    [descriptor_bytes] = struct.unpack_from("<H", data, 254)
    if incompatible & ~_KNOWN:
        raise InputError(f"{region.name}: an ext4 with unsupported features ({incompatible & ~_KNOWN:#x})")
    if read_only & _BIGALLOC and log_size == 0:  # its descriptors follow the superblock, against ``first_block``
        raise InputError(f"{region.name}: an ext4 with bigalloc and blocks of 1024 bytes, which is not supported")
    wide = bool(incompatible & _64BIT)
    if wide:
        high, high_reserved, high_free = struct.unpack_from("<3I", data, 336)
        blocks, reserved, free = blocks | high << 32, reserved | high_reserved << 32, free | high_free << 32
    block_bytes = 1024 << log_size if log_size <= 6 else 0
    inode_bytes = inode_bytes if revision else 128
    descriptor_bytes = descriptor_bytes if wide else 32
    if (
        not (block_bytes and blocks_per_group and inodes_per_group and blocks * block_bytes <= region.size)
        or not 128 <= inode_bytes <= block_bytes
        or not 32 <= descriptor_bytes <= block_bytes
    ):
        raise region.damaged("an inconsistent superblock")
    return _Superblock(
        block_bytes=block_bytes,
        free_blocks=free,
        reserved_blocks=reserved,
        first_block=first,
        inodes=inodes,
        inodes_per_group=inodes_per_group,
        inode_bytes=inode_bytes,
        descriptor_bytes=descriptor_bytes,
        in_use=bool(incompatible & _NEEDS_RECOVERY) or state & (_STATE_CLEAN | _STATE_ERRORS) != _STATE_CLEAN,
    )
