"""Read ext4: superblock, inodes, extents, folders and links (kernel, Documentation/filesystems/ext4).

Own code, because the packages on PyPI do not fit: ``ext4`` pins its dependencies to one version, and ``dissect.extfs``
is AGPL. Checksums are not checked: a stock image is verified as a whole.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from fer_edge.errors import InputError
from fer_flash.image.file_systems.region import Region
from fer_flash.image.file_systems.volume import parts_of

FOLDER, FILE, LINK = 0o040000, 0o100000, 0o120000
"""Values of ``Inode.kind``."""
MAX_FILE = 1 << 28
"""Bytes. Larger files are not read: no file that is needed here has this size."""

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
class Superblock:
    """The values of the superblock; sizes in bytes."""

    block_bytes: int
    blocks: int
    free_blocks: int
    reserved_blocks: int
    first_block: int
    blocks_per_group: int
    inodes: int
    inodes_per_group: int
    inode_bytes: int
    descriptor_bytes: int
    needs_recovery: bool
    is_clean: bool


@dataclass(frozen=True, slots=True)
class Inode:
    """A file, folder or link: ``kind`` and ``permissions`` make up its mode; ``body`` refers to its content."""

    number: int
    kind: int
    permissions: int
    links: int
    size: int
    flags: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Extent:
    """``count`` blocks of a file, from its block ``logical``, at block ``physical``; 0 if they read as zeros."""

    logical: int
    count: int
    physical: int


@dataclass(frozen=True, slots=True)
class Way:
    """A path, resolved as far as possible: ``names`` without links to ``inode``, then the ``missing`` names."""

    names: tuple[str, ...]
    inode: Inode
    missing: tuple[str, ...]


def looks_like_ext4(region: Region) -> bool:
    """Return whether the region has an ext4 superblock."""
    if region.size < _SUPERBLOCK_AT + _SUPERBLOCK_BYTES:
        return False
    return region.read(_SUPERBLOCK_AT + 56, 2) == _MAGIC


def read_superblock(region: Region) -> Superblock:
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
    return Superblock(
        block_bytes=block_bytes,
        blocks=blocks,
        free_blocks=free,
        reserved_blocks=reserved,
        first_block=first,
        blocks_per_group=blocks_per_group,
        inodes=inodes,
        inodes_per_group=inodes_per_group,
        inode_bytes=inode_bytes,
        descriptor_bytes=descriptor_bytes,
        needs_recovery=bool(incompatible & _NEEDS_RECOVERY),
        is_clean=state & (_STATE_CLEAN | _STATE_ERRORS) == _STATE_CLEAN,
    )


class Ext4Reader:
    """Read a file system; only the superblock is kept between calls."""

    def __init__(self, region: Region) -> None:
        self._region = region
        self.superblock = read_superblock(region)

    def walk(self, path: str) -> Way:
        """Resolve ``path`` and its links as far as possible. Raises InputError if links form a loop."""
        todo = parts_of(path)[::-1]
        names: list[str] = []
        inodes = [self.inode(_ROOT_INODE)]
        followed = 0
        while todo:
            name = todo.pop()
            if name == "..":
                names, inodes = names[:-1], inodes[:-1] or inodes
                continue
            number = self.entries(inodes[-1]).get(name) if inodes[-1].kind == FOLDER else None
            if number is None:
                return Way(tuple(names), inodes[-1], (name, *reversed(todo)))
            inode = self.inode(number)
            if inode.kind != LINK:
                names, inodes = [*names, name], [*inodes, inode]
                continue
            followed += 1
            if followed > _MAX_LINKS:
                raise InputError(f"{self._region.name}: {path}: its links form a loop")
            target = self.content(inode).decode("utf-8", errors="surrogateescape")
            if target.startswith("/"):
                names, inodes = [], inodes[:1]
            todo += [part for part in reversed(target.split("/")) if part not in ("", ".")]
        return Way(tuple(names), inodes[-1], ())

    def inode(self, number: int) -> Inode:
        """Return the inode with that number."""
        block = self.superblock
        if not 1 <= number <= block.inodes:
            raise self._region.damaged(f"a folder refers to the inode {number}")
        group, index = divmod(number - 1, block.inodes_per_group)
        at = (block.first_block + 1) * block.block_bytes + group * block.descriptor_bytes
        descriptor = self._region.read(at, block.descriptor_bytes)
        [table] = struct.unpack_from("<I", descriptor, 8)
        if block.descriptor_bytes >= 64:
            table |= struct.unpack_from("<I", descriptor, 40)[0] << 32
        raw = self._region.read(table * block.block_bytes + index * block.inode_bytes, 128)
        mode, _, low = struct.unpack_from("<HHI", raw)
        links, _, flags = struct.unpack_from("<HII", raw, 26)
        [high] = struct.unpack_from("<I", raw, 108)
        return Inode(number, mode & 0o170000, mode & 0o7777, links, low | high << 32, flags, raw[40:100])

    def entries(self, folder: Inode) -> dict[str, int]:
        """Return names and inodes in a folder, without "." and "..". Its index (htree) is hidden in empty entries."""
        data, at = self.content(folder), 0
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

    def content(self, inode: Inode) -> bytes:
        """Return the content of a file, a folder or a link."""
        if inode.kind == LINK and inode.size < _FAST_LINK and not inode.flags & _EXTENTS_FLAG:
            return inode.body[: inode.size]
        if inode.size > MAX_FILE:
            raise InputError(f"{self._region.name}: a file of {inode.size} bytes is too large to read")
        size = self.superblock.block_bytes
        blocks = -(-inode.size // size)
        data = bytearray(blocks * size)  # blocks without an extent read as zeros
        for extent in self.extents(inode):
            count = min(extent.count, blocks - extent.logical)  # blocks may be allocated beyond the end
            if extent.physical and count > 0:
                at = extent.logical * size
                data[at : at + count * size] = self._region.read(extent.physical * size, count * size)
        return bytes(memoryview(data)[: inode.size])

    def extents(self, inode: Inode) -> Iterator[Extent]:
        """Yield the extents of a file in order. Raises InputError for a file without extents."""
        if not inode.flags & _EXTENTS_FLAG:
            if inode.size:
                raise InputError(f"{self._region.name}: inode {inode.number} does not use extents, as files of ext4 do")
            return
        behind = 0
        for extent in self._extents(inode.body, None):
            if extent.logical < behind:
                raise self._region.damaged("a file with overlapping extents")
            behind = extent.logical + extent.count
            yield extent

    def _extents(self, node: bytes, expected: int | None) -> Iterator[Extent]:
        """Yield the extents below a node of the tree; ``expected`` is its depth, None for the root."""
        magic, count, _, depth = struct.unpack_from("<4H", node)
        fits = magic == _EXTENTS_MAGIC and 12 + count * 12 <= len(node) and depth <= _MAX_DEPTH
        if not fits or (expected is not None and (depth != expected or not count)):
            raise self._region.damaged("a file with inconsistent extents")
        for at in range(12, 12 + count * 12, 12):
            if depth:
                _, low, high = struct.unpack_from("<IIH", node, at)
                size = self.superblock.block_bytes
                yield from self._extents(self._region.read((low | high << 32) * size, size), depth - 1)
            else:
                logical, blocks, high, low = struct.unpack_from("<IHHI", node, at)
                written = blocks <= _UNWRITTEN_FROM
                yield Extent(logical, blocks % _UNWRITTEN_FROM or blocks, (low | high << 32) if written else 0)
