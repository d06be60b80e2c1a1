"""Read the size of an image from its header, before anything is decoded."""

from __future__ import annotations

import re
import struct

_PNM = re.compile(rb"P[1-6](?:\s|#[^\n]*\n)+(\d{1,9})(?:\s|#[^\n]*\n)+(\d{1,9})\s")
_JPEG_WITHOUT_LENGTH = {0x01, *range(0xD0, 0xD9)}
_MIN_WEBP_BYTES = 30
"""Bytes up to the end of the size in the longest of the three kinds of header."""
_JPEG_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}
"""Markers of a frame header, SOF0 to SOF15 (ITU-T T.81, table B.1)."""


def image_size(data: bytes) -> tuple[int, int] | None:
    """Return width and height of a JPEG, PNG, BMP, WebP, PGM or PPM in pixels; None for other or damaged files.

    >>> image_size(b"P5 640 480 255 ")
    (640, 480)
    """
    try:
        if data.startswith(b"\x89PNG\r\n\x1a\n"):
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        if data.startswith(b"\xff\xd8"):
            return _jpeg_size(data)
        if data.startswith(b"BM"):
            width, height = struct.unpack_from("<ii", data, 18)
            return abs(width), abs(height)  # a negative height: rows from top to bottom
        if len(data) >= _MIN_WEBP_BYTES and data.startswith(b"RIFF") and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError):  # cut short
        return None
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
