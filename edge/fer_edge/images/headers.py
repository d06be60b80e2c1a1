"""Read the size of an image from its header, before anything is decoded."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable

_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
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
            except (struct.error, IndexError):  # cut short
                return None
    return None


def _png_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 16)
    return width, height


def _bmp_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<ii", data, 18)
    return abs(width), abs(height)  # a negative height: rows from top to bottom


def _gif_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from("<HH", data, 6)
    return width, height


def _sun_raster_size(data: bytes) -> tuple[int, int]:
    width, height = struct.unpack_from(">II", data, 4)
    return width, height


def _pnm_size(data: bytes) -> tuple[int, int] | None:
    match = _PNM.match(data)
    return (int(match.group(1)), int(match.group(2))) if match else None


def _jpeg_size(data: bytes) -> tuple[int, int] | None:
    """Return the largest size of all frame headers: a decoder may use any of them."""
    position, found = 2, None
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker in _JPEG_WITHOUT_LENGTH:
            position += 2
            continue
        if marker in _JPEG_FRAMES:
            height, width = struct.unpack_from(">HH", data, position + 5)
            found = max(found or (0, 0), (width, height), key=lambda size: size[0] * size[1])
        if marker == 0xDA:  # start of the image data
            break
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    return found


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
    sizes = [struct.unpack_from(">II", data, match.end() + 4) for match in re.finditer(rb"ispe", data[:_MAX_AVIF_HEAD])]
    return max(sizes, key=lambda size: size[0] * size[1], default=None)


_READERS: tuple[tuple[bytes | tuple[bytes, ...], int, Callable[[bytes], tuple[int, int] | None]], ...] = (
    (b"\x89PNG\r\n\x1a\n", 0, _png_size),
    (b"\xff\xd8", 0, _jpeg_size),
    (b"BM", 0, _bmp_size),
    (b"WEBP", 8, _webp_size),
    ((b"GIF87a", b"GIF89a"), 0, _gif_size),
    ((b"II", b"MM"), 0, _tiff_size),
    (b"\x59\xa6\x6a\x95", 0, _sun_raster_size),
    (b"ftyp", 4, _avif_size),
    (b"P", 0, _pnm_size),
)
"""The bytes by which a format is known, where they are, and who reads its size."""
