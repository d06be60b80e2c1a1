"""Read the size of an image from its header, before anything is decoded."""

from __future__ import annotations

import math
import re
import struct
from collections.abc import Callable, Iterator
from functools import partial

_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_JPEG_START_OF_SCAN = 0xDA
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_MIN_WEBP_BYTES = 30
"""Bytes up to the end of the size in the longest of the three kinds of header."""
_TIFF_WIDTH, _TIFF_HEIGHT = 256, 257
_TIFF_NUMBERS = {3: "H", 4: "I", 16: "Q"}
"""Types SHORT, LONG and LONG8 of a value."""
_MAX_TIFF_ENTRIES = 4096
_MAX_AVIF_HEAD = 1 << 16
"""Bytes in which the boxes of an AVIF's properties are looked for; they precede the image."""
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header, SOF0 to SOF15 (ITU-T T.81, table B.1)."""


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height in pixels of an image in one of the formats below; None for other or damaged files.

    JPEG, PNG, BMP, WebP, PGM and PPM, GIF, TIFF (its first image), AVIF and Sun raster.

    >>> image_size(b"P5 640 480 255 ")
    (640, 480)
    """
    for signature, at, read in _READERS:
        if data.startswith(signature, at):
            try:
                return read(data)
            except (struct.error, OverflowError):  # cut short, or a place of more than 63 bits
                return None
    return None


def _size_at(form: str, position: int, data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(form, data, position)
    return abs(width), abs(height)  # a BMP with a negative height has its rows from top to bottom


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    match = _PNM.match(data)
    return (int(match.group(1)), int(match.group(2))) if match else None


def jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """Yield marker, start and end of each segment of a JPEG, the last one that in which the image data starts."""
    position, marker = 2, 0
    while marker != _JPEG_START_OF_SCAN and position + 4 <= len(data) and data[position] == 0xFF:
        start, marker = position, data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
        elif marker in _JPEG_WITHOUT_LENGTH:
            position += 2
        else:
            position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
            yield marker, start, position


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return the largest size of all frame headers: a decoder may use any of them."""
    frames = (start for marker, start, _ in jpeg_segments(data) if marker in _JPEG_FRAMES)
    return max((_size_at(">HH", start + 5, data)[::-1] for start in frames), key=math.prod, default=None)


def _webp_size(data: bytes) -> tuple[int, int] | None:
    if len(data) < _MIN_WEBP_BYTES or not data.startswith(b"RIFF"):
        return None
    kind = data[12:16]
    if kind == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if kind == b"VP8L":
        bits = int.from_bytes(data[21:25], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if kind == b"VP8X":
        return int.from_bytes(data[24:27], "little") + 1, int.from_bytes(data[27:30], "little") + 1
    return None


def _tiff_size(data: bytes) -> tuple[int, int] | None:
    """Return the size in the first directory: TIFF 6.0, section 2, and BigTIFF with wider numbers."""
    order = "<" if data.startswith(b"II") else ">"
    (version,) = struct.unpack_from(f"{order}H", data, 2)
    if version == 42:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        (count,) = struct.unpack_from(f"{order}H", data, at)
        first, entry_bytes, value_at = at + 2, 12, 8
    elif version == 43:
        (at,) = struct.unpack_from(f"{order}Q", data, 8)
        (count,) = struct.unpack_from(f"{order}Q", data, at)
        first, entry_bytes, value_at = at + 8, 20, 12
    else:
        return None
    found: dict[int, int] = {}
    for entry in range(first, first + min(count, _MAX_TIFF_ENTRIES) * entry_bytes, entry_bytes):
        tag, kind = struct.unpack_from(f"{order}HH", data, entry)
        if tag in (_TIFF_WIDTH, _TIFF_HEIGHT) and kind in _TIFF_NUMBERS:
            (value,) = struct.unpack_from(f"{order}{_TIFF_NUMBERS[kind]}", data, entry + value_at)
            found.setdefault(tag, value)  # libtiff ignores a tag's second entry
    return (found[_TIFF_WIDTH], found[_TIFF_HEIGHT]) if len(found) == 2 else None


def _avif_size(data: bytes) -> tuple[int, int] | None:
    """Return the largest size of all images in the file; each has a box ``ispe`` (ISO/IEC 23008-12, 6.5.3)."""
    if b"avif" not in data[8:64]:  # another of the formats that begin with this box, such as MP4
        return None
    boxes = re.finditer(rb"ispe", data[:_MAX_AVIF_HEAD])
    return max((_size_at(">II", box.end() + 4, data) for box in boxes), key=math.prod, default=None)


_READERS: tuple[tuple[bytes | tuple[bytes, ...], int, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, partial(_size_at, ">II", 16)),
    (b"\xff\xd8", 0, _jpeg_size),
    (b"BM", 0, partial(_size_at, "<ii", 18)),
    (b"WEBP", 8, _webp_size),
    ((b"GIF87a", b"GIF89a"), 0, partial(_size_at, "<HH", 6)),
    ((b"II", b"MM"), 0, _tiff_size),
    (b"\x59\xa6\x6a\x95", 0, partial(_size_at, ">II", 4)),  # Sun raster
    (b"ftyp", 4, _avif_size),
    (b"P", 0, _pnm_size),
)
"""The bytes by which a format is known, where they are, and who reads its size."""
