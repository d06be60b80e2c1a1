"""Read the partitions of a raw image from an MBR or a GPT.

MBR: the table of four entries at byte 446 (UEFI 2.10, 5.2.1); logical partitions are ignored, since Raspberry Pi OS has
none. GPT: UEFI 2.10, 5.3; the second header, in the last sector, is used if the first one is damaged.
"""

from __future__ import annotations

import struct
import uuid
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from fer_edge.errors import InputError
from fer_flash.image.file_systems.region import Region

SECTOR = 512
"""Bytes; cards use no other size."""
_OTHER_SECTORS = (1024, 2048, 4096)  # of disks; a GPT's header is in the second sector

_MBR_ENTRIES, _MBR_SIGNATURE = 446, b"\x55\xaa"
_PROTECTIVE = 0xEE  # type of the MBR's only partition if there is a GPT
_MBR_KINDS = {**dict.fromkeys((0x01, 0x04, 0x06, 0x0B, 0x0C, 0x0E, 0xEF), "fat"), 0x83: "linux"}
_GPT_SIGNATURE = b"EFI PART"
_GPT_HEADER = struct.Struct("<8sIIIIQQQQ16sQIII")
_GPT_OTHER_AT = 32  # the header's field AlternateLBA
_GPT_ENTRY = struct.Struct("<16s16sQQQ72s")
_MAX_ENTRY_BYTES = 1 << 20  # all known programs write 128 entries of 128 bytes
_GPT_KINDS = {
    "ebd0a0a2-b9e5-4433-87c0-68b6b72699c7": "fat",  # Microsoft basic data, which parted uses for FAT
    "c12a7328-f81f-11d2-ba4b-00a0c93ec93b": "fat",  # EFI system partition
    "0fc63daf-8483-4772-8e79-3d69d8477de4": "linux",
    "b921b045-1df0-41c3-af44-4c6f280d3fae": "linux",  # Linux root, arm64 (Discoverable Partitions Specification)
}


@dataclass(frozen=True, slots=True)
class Partition:
    """A partition: ``start`` and ``size`` in bytes, ``kind`` "fat", "linux", or the table's own (0x82, a GUID)."""

    number: int
    start: int
    size: int
    kind: str


def read_partitions(image: Region) -> tuple[Partition, ...]:
    """Return the partitions of a whole image, as its table lists them.

    Raises InputError if the table is missing or inconsistent, or a partition extends beyond the image.
    """
    if image.size == 0:
        raise InputError(f"{image.name}: is empty")
    if image.size < 2 * SECTOR:
        raise _no_table(image)
    first = image.read(0, SECTOR)
    if not first.endswith(_MBR_SIGNATURE):
        raise _no_table(image)
    entries = tuple(struct.unpack_from("<BxxxBxxxII", first, _MBR_ENTRIES + 16 * index) for index in range(4))
    end = 0
    if any(kind == _PROTECTIVE for _, kind, _, _ in entries):
        partitions, end = _gpt(image)
    else:
        # A FAT without a partition table has the same signature, and program code at the position of the table.
        if any(status not in (0, 0x80) for status, *_ in entries):
            raise _no_table(image)
        partitions = tuple(
            Partition(index + 1, start * SECTOR, size * SECTOR, _MBR_KINDS.get(kind, f"0x{kind:02x}"))
            for index, (_, kind, start, size) in enumerate(entries)
            if kind and size
        )
    if not partitions:
        raise _no_table(image)
    _check_places(image, partitions)
    if end > image.size:
        raise InputError(
            f"{image.name}: the second header of its GPT ends at byte {end}, but the image at {image.size}: "
            "it is truncated; download or unpack it again"
        )
    return partitions


def _gpt(image: Region) -> tuple[tuple[Partition, ...], int]:
    """Return the partitions of the first undamaged GPT, and the byte where the image ends according to it."""
    for at in (SECTOR, (image.size // SECTOR - 1) * SECTOR):
        entries = _gpt_entries(image, at)
        if entries is not None:
            # The header in the first sectors names the one in the last sector, and that one the first.
            [other] = struct.unpack_from("<Q", image.read(at, SECTOR), _GPT_OTHER_AT)
            return tuple(_gpt_partitions(entries)), (other + 1) * SECTOR
    for sector in _OTHER_SECTORS:
        if image.size >= 2 * sector and image.read(sector, len(_GPT_SIGNATURE)) == _GPT_SIGNATURE:
            raise InputError(
                f"{image.name}: a GPT with sectors of {sector} bytes, which is not supported: cards have {SECTOR}; "
                "use an image for cards"
            )
    raise image.damaged(f"a GPT whose headers, at bytes {SECTOR} and {at}, both have wrong checksums")


def _gpt_entries(image: Region, at: int) -> list[bytes] | None:
    """Return the entries of the header at byte ``at``; None if it or they are damaged."""
    sector = image.read(at, SECTOR)
    (signature, _, size, checksum, _, _, _, _, _, _, table, count, entry_size, table_checksum) = (
        _GPT_HEADER.unpack_from(sector)
    )
    if signature != _GPT_SIGNATURE or not _GPT_HEADER.size <= size <= SECTOR:
        return None
    if zlib.crc32(sector[:16] + bytes(4) + sector[20:size]) != checksum:
        return None
    if entry_size < _GPT_ENTRY.size or count * entry_size > _MAX_ENTRY_BYTES:
        return None
    if table * SECTOR + count * entry_size > image.size:
        return None
    data = image.read(table * SECTOR, count * entry_size)
    if zlib.crc32(data) != table_checksum:
        return None
    return [data[index * entry_size :][: _GPT_ENTRY.size] for index in range(count)]


def _gpt_partitions(entries: list[bytes]) -> Iterator[Partition]:
    for index, entry in enumerate(entries):
        kind, _, first, last, _, _ = _GPT_ENTRY.unpack(entry)
        if any(kind):  # all zeros: unused
            guid = str(uuid.UUID(bytes_le=kind))
            yield Partition(index + 1, first * SECTOR, (last - first + 1) * SECTOR, _GPT_KINDS.get(guid, guid))


def _check_places(image: Region, partitions: tuple[Partition, ...]) -> None:
    end, before = 0, 0
    for each in sorted(partitions, key=lambda partition: partition.start):
        if each.start + each.size > image.size:
            raise InputError(
                f"{image.name}: partition {each.number} ends at byte {each.start + each.size}, but the image at "
                f"{image.size}: it is truncated; download or unpack it again"
            )
        if each.size <= 0 or each.start < max(end, SECTOR):
            raise image.damaged(
                f"partition {each.number} overlaps {f'partition {before}' if before else 'the partition table'}"
            )
        end, before = each.start + each.size, each.number


def _no_table(image: Region) -> InputError:
    return InputError(f"{image.name}: not a card image: neither an MBR nor a GPT at its start")
