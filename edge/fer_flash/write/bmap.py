"""Block maps: which blocks of an image hold anything, with checksums (bmap-tools, format 2.0).

The format is that which bmap-tools writes (github.com/intel/bmap-tools: bmaptools/BmapCreate.py, and the reader in
bmaptools/BmapCopy.py): XML with the image's size, the block's size, and ranges ``first-last`` of mapped blocks, each
with the SHA-256 of its bytes, up to the image's end in the last one. The file's own SHA-256 is taken with zeros in the
place of the sum itself.
"""

from __future__ import annotations

import hashlib
import re
from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from fer_edge.errors import InputError
from fer_flash.image.compare import all_zero

_VERSION = re.compile(r"2\.\d+")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RANGE = re.compile(r"(\d{1,18})(?:\s*-\s*(\d{1,18}))?")
_NUMBER = re.compile(r"\d{1,18}")
_MAX_BYTES = 1 << 26  # a range of one block each, in the worst of images of 4 GB, is below that
_SECTOR = 512
_GRAIN = 4096
"""Written areas begin and end at multiples of this many bytes, the largest block that cards and readers have."""


@dataclass(frozen=True, slots=True)
class MappedRange:
    """Bytes ``start`` to ``end``, without ``end``, of the image; ``sha256`` of them, None where the map has none."""

    start: int
    end: int
    sha256: str | None


@dataclass(frozen=True, slots=True)
class BlockMap:
    """A map of an image of ``image_size`` bytes; ``ranges`` are in order and do not touch each other's blocks."""

    path: Path
    image_size: int
    block_size: int
    ranges: tuple[MappedRange, ...]

    @property
    def mapped_bytes(self) -> int:
        """Bytes of the image in mapped blocks."""
        return sum(mapped.end - mapped.start for mapped in self.ranges)

    def areas(self, start: int, end: int) -> Iterator[tuple[int, int]]:
        """The mapped parts of ``start`` to ``end``, widened to whole 4096 bytes and joined where they then touch."""
        begin, stop = -1, -1
        for mapped in self._overlapping(start, end):
            first = max(mapped.start // _GRAIN * _GRAIN, start)
            last = min(-(-mapped.end // _GRAIN) * _GRAIN, end)
            if begin >= 0 and first <= stop:
                stop = max(stop, last)
                continue
            if begin >= 0:
                yield begin, stop
            begin, stop = first, last
        if begin >= 0:
            yield begin, stop

    def _overlapping(self, start: int, end: int) -> Iterator[MappedRange]:
        # From the first that may reach in: one before, and one more, since areas are widened.
        index = max(bisect_right(self.ranges, start, key=lambda mapped: mapped.start) - 1, 0)
        while index > 0 and -(-self.ranges[index - 1].end // _GRAIN) * _GRAIN > start:
            index -= 1
        for mapped in self.ranges[index:]:
            if mapped.start // _GRAIN * _GRAIN >= end:
                return
            if -(-mapped.end // _GRAIN) * _GRAIN > start:
                yield mapped


class MapCheck:
    """Holds an image, as it streams by, to its map: the ranges' checksums, and nothing but zeros between them.

    The second finds a map that is older than its image, which the checksums do not.
    """

    def __init__(self, block_map: BlockMap) -> None:
        self._map = block_map
        self._index = 0
        self._digest = hashlib.sha256()
        self._at = 0

    def feed(self, data: memoryview) -> None:
        """The next bytes of the image. Raises InputError where they do not belong to the map."""
        offset, end = self._at, self._at + len(data)
        at = offset
        while at < end:
            mapped = self._map.ranges[self._index] if self._index < len(self._map.ranges) else None
            if mapped is None or at < mapped.start:
                stop = end if mapped is None else min(end, mapped.start)
                if not all_zero(data[at - offset : stop - offset]):
                    raise self._mismatch(f"between bytes {at} and {stop} it has data that the map leaves out")
            else:
                stop = min(end, mapped.end)
                self._digest.update(data[at - offset : stop - offset])
                if stop == mapped.end:
                    self._close(mapped)
            at = stop
        self._at = end

    def finish(self) -> None:
        """The image has ended. Raises InputError where the map goes on, or the image did."""
        if self._at != self._map.image_size:
            raise self._mismatch(f"it has {self._at} bytes and the map is for {self._map.image_size}")

    def _close(self, mapped: MappedRange) -> None:
        if mapped.sha256 is not None and self._digest.hexdigest() != mapped.sha256:
            raise self._mismatch(f"bytes {mapped.start} to {mapped.end - 1} have another checksum")
        self._digest = hashlib.sha256()
        self._index += 1

    def _mismatch(self, how: str) -> InputError:
        return InputError(
            f"{self._map.path}: does not belong to this image, or is older: {how};"
            " make the map again, or write without it: --no-bmap"
        )


def find_block_map(image: Path) -> BlockMap | None:
    """The map beside ``image``: IMAGE.bmap, or the same without .xz, .gz or .zip; None where there is none."""
    names = [image.with_name(f"{image.name}.bmap")]
    if image.suffix.lower() in (".xz", ".gz", ".zip"):
        names.append(image.with_suffix(".bmap"))
        if not image.stem.lower().endswith(".img"):
            names.append(image.with_name(f"{image.stem}.img.bmap"))
    for path in names:
        if path.exists():
            return read_block_map(path)
    return None


def read_block_map(path: Path) -> BlockMap:
    """The map in ``path``. Raises InputError for anything that is not a whole map of format 2."""
    try:
        with path.open("rb") as stream:
            data = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}; --no-bmap writes without it") from error
    return parse_block_map(data, path)


def parse_block_map(data: bytes, path: Path) -> BlockMap:
    """The map in ``data``, which was read from ``path``. Raises InputError as ``read_block_map`` does."""
    # Entities could make a small file a large document; no map has them, nor a document type.
    if len(data) > _MAX_BYTES or b"<!DOCTYPE" in data or b"<!ENTITY" in data or b"\0" in data:
        raise _refused(path, "too large, or no plain XML")
    try:
        root = ET.fromstring(data)
    except (ET.ParseError, ValueError, LookupError) as error:  # LookupError: an encoding that nobody knows
        raise _refused(path, f"no XML: {error}") from error
    if root.tag != "bmap" or not _VERSION.fullmatch(root.get("version", "")):
        raise _refused(path, f"format {root.get('version', 'unknown')!r}, where 2.0 is read")
    if _text(root, "ChecksumType", path) != "sha256":
        raise _refused(path, "checksums of another kind than sha256")
    _check_own_sum(data, _text(root, "BmapFileChecksum", path), path)
    size, block, count = (_number(root, name, path) for name in ("ImageSize", "BlockSize", "BlocksCount"))
    if not size or not block or block % _SECTOR or count != -(-size // block):
        raise _refused(path, "its sizes contradict each other")
    ranges = tuple(_ranges(root, size, block, path))
    if sum(-(-(mapped.end - mapped.start) // block) for mapped in ranges) != _number(root, "MappedBlocksCount", path):
        raise _refused(path, "the number of mapped blocks contradicts the ranges")
    return BlockMap(path, size, block, ranges)


def _ranges(root: ET.Element, size: int, block: int, path: Path) -> Iterator[MappedRange]:
    before = 0
    for element in root.findall("./BlockMap/Range"):
        match = _RANGE.fullmatch((element.text or "").strip())
        if not match:
            raise _refused(path, "a range that is not understood")
        first, last = int(match[1]), int(match[2] or match[1])
        if not before <= first <= last or last * block >= size:
            raise _refused(path, f"range {first}-{last} is out of order or beyond the image")
        checksum = element.get("chksum")
        if checksum is not None and not _SHA256.fullmatch(checksum):
            raise _refused(path, f"the checksum of range {first}-{last} is no SHA-256")
        yield MappedRange(first * block, min((last + 1) * block, size), checksum)
        before = last + 1


def _check_own_sum(data: bytes, announced: str, path: Path) -> None:
    written = announced.encode()
    if not _SHA256.fullmatch(announced) or data.count(written) != 1:
        raise _refused(path, "no checksum of its own")
    if hashlib.sha256(data.replace(written, b"0" * len(written))).hexdigest() != announced:
        raise _refused(path, "its own checksum is wrong")


def _text(root: ET.Element, name: str, path: Path) -> str:
    found = root.findall(name)
    if len(found) != 1:
        raise _refused(path, f"{len(found)} times {name}")
    return (found[0].text or "").strip()


def _number(root: ET.Element, name: str, path: Path) -> int:
    text = _text(root, name, path)
    if not _NUMBER.fullmatch(text):
        raise _refused(path, f"{name} is no number")
    return int(text)


def _refused(path: Path, why: str) -> InputError:
    return InputError(f"{path}: no block map that can be used ({why}); make it again, or write without it: --no-bmap")
