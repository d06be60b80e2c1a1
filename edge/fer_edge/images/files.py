"""Reading and listing image files; every fault is one line that names the file."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from fer_edge.errors import InputError, OutputError
from fer_edge.system.files import write_bytes_atomically
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
_MOVING = frozenset({".gif", ".mjpeg", ".mjpg"})
"""Videos here, although their first bytes are those of an image."""
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_JPEG_START_OF_SCAN = 0xDA
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
_PNG_ANCILLARY = 0x20
"""Bit of a chunk's first letter: small letters are for chunks that a reader may do without."""


def is_image_file(path: Path) -> bool:
    """Whether ``path`` is a file that its name or its first bytes make out to be an image."""
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix not in _MOVING and cv2.haveImageReader(str(path)))


def list_images(folder: Path) -> list[Path]:
    """The images in ``folder`` by name, numbers in their own order (2 before 10). Raises InputError if none."""
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot read the folder: {error.strerror}") from None
    images = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not images:
        raise InputError(f"{folder}: holds no images; looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(images, key=lambda path: (_natural(path.name), path.name))


def check_readable(path: Path) -> None:
    """Raise InputError unless ``path`` is a file, not empty, that may be read."""
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder")
    try:
        with path.open("rb") as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    if empty:
        raise InputError(f"{path}: the file is empty")


def read_gray(path: Path) -> UInt8Array:
    """The image as uint8 [H, W], turned upright as its EXIF says. Raises InputError."""
    check_readable(path)
    data = path.read_bytes()
    # OpenCV decodes a JPEG that was cut short to a half-grey picture and says nothing; since 4.11 only one that is
    # filled up with zeros, as after pulling out a card.
    if not _is_whole(data):
        raise InputError(f"{path}: the image is cut short or damaged; copy it again")
    return decode_gray(data, str(path))


def decode_gray(data: bytes, where: str) -> UInt8Array:
    """The encoded image ``data`` as uint8 [H, W]. Raises InputError, whose message starts with ``where``."""
    try:
        with hidden_stderr():  # libpng and libjpeg complain there of damaged images
            image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        why = "it has more pixels than OpenCV takes" if "MAX_IMAGE_PIXELS" in str(error) else error.err or error.code
        raise InputError(f"{where}: cannot decode the image: {why}") from None
    if image is None:
        raise InputError(f"{where}: not an image that can be read (JPEG, PNG, WebP, BMP, TIFF, PGM), or damaged")
    return np.asarray(image, dtype=np.uint8)


def write_image(path: Path, image: UInt8Array) -> None:
    """Write ``image`` (uint8, grey [H, W] or BGR [H, W, 3]) in the format of ``path``'s suffix. Raises OutputError."""
    good, encoded = cv2.imencode(path.suffix, image)
    if not good:
        raise OutputError(f"{path}: the image cannot be encoded as {path.suffix}")
    write_bytes_atomically(path, encoded.tobytes())


def _natural(name: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", name)
    return [(1, int(piece), "") if piece.isdecimal() else (0, 0, piece) for piece in pieces]


def _is_whole(data: bytes) -> bool:
    """Whether a JPEG or PNG is there up to its end; True for other formats, which are left to the decoder."""
    if data.startswith(_PNG_START):
        return _png_is_whole(data)
    return jpeg_is_whole(data) if data.startswith(_JPEG_START) else True


def _png_is_whole(data: bytes) -> bool:
    """Whether all chunks up to IEND are there, those that matter with the right checksum (PNG, section 5)."""
    position = len(_PNG_START)
    while position + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, position)
        end = position + 8 + length
        if end + 4 > len(data):
            return False
        checksum = int.from_bytes(data[end : end + 4], "big")
        if not kind[0] & _PNG_ANCILLARY and zlib.crc32(data[position + 4 : end]) != checksum:
            return False
        if kind == _PNG_END:
            return True
        position = end + 4
    return False


def jpeg_is_whole(data: bytes) -> bool:
    """Whether the JPEG ``data`` has its end marker after the start of its picture data."""
    # Walk the segments to the picture data: an embedded thumbnail has an end marker of its own.
    position = len(_JPEG_START)
    while position + 4 <= len(data) and data[position] == 0xFF:
        marker = data[position + 1]
        if marker == 0xFF:  # fill byte
            position += 1
            continue
        if marker == _JPEG_START_OF_SCAN:
            break
        position += 2 + int.from_bytes(data[position + 2 : position + 4], "big")
    # Within picture data 0xFF is always followed by 0 or a restart marker: this finds the true end.
    return data.rfind(_JPEG_END, position) >= 0  # from the end, where it mostly is
