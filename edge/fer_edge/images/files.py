"""Read, write and list image files. Errors are one line, which names the file."""

from __future__ import annotations

import re
import struct
import zlib
from pathlib import Path

import cv2
import numpy as np

from fer_edge.errors import InputError, OutputError
from fer_edge.images.headers import image_size, jpeg_segments
from fer_edge.system.files import open_regular, read_regular, write_bytes_atomically
from fer_edge.system.opencv_setup import opencv_path
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

IMAGE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".pgm", ".ppm"})
_MOVING = frozenset({".gif", ".mjpeg", ".mjpg"})
"""Treated as videos, although their first bytes are those of an image."""
_MAX_IMAGE_BYTES = 2**28
"""Maximum size of an image file, far above that of any camera; a larger one would exhaust a Pi's memory."""
_JPEG_START, _JPEG_END = b"\xff\xd8", b"\xff\xd9"
_PNG_START, _PNG_END = b"\x89PNG\r\n\x1a\n", b"IEND"
_PNG_ANCILLARY = 0x20
"""Bit of the first letter of a chunk's name: lower case marks chunks that a reader may ignore (PNG, section 5.4)."""


def is_image_file(path: Path) -> bool:
    """Return whether ``path`` is an image file, by its suffix or its first bytes.

    Raises:
        InputError: If the path is not UTF-8 and has no known suffix.
    """
    if not path.is_file():
        return False
    suffix = path.suffix.lower()
    return suffix in IMAGE_SUFFIXES or (suffix not in _MOVING and cv2.haveImageReader(opencv_path(path)))


def list_images(folder: Path) -> list[Path]:
    """Return the images in ``folder``, sorted by name with numbers in numerical order (2 before 10).

    Raises:
        InputError: If the folder cannot be read, or contains no images.
    """
    try:
        entries = list(folder.iterdir())
    except OSError as error:
        raise InputError(f"{folder}: cannot read the folder: {error.strerror}") from None
    images = [path for path in entries if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()]
    if not images:
        raise InputError(f"{folder}: contains no images; looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    return sorted(images, key=lambda path: (_natural(path.name), path.name))


def check_readable(path: Path) -> None:
    """Check that ``path`` is a readable file that is not empty.

    Raises:
        InputError: If it is not.
    """
    if not path.exists():
        raise InputError(f"{path}: no such file")
    if not path.is_file():
        raise InputError(f"{path}: neither a file nor a folder")
    try:
        with open_regular(path) as stream:
            empty = not stream.read(1)
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    if empty:
        raise InputError(f"{path}: the file is empty")


def read_gray(path: Path, max_pixels: int | None = None) -> UInt8Array:
    """Read an image file as uint8 [H, W], rotated according to its EXIF orientation.

    Raises:
        InputError: If the file is missing, unreadable, truncated or not an image, or has more than ``max_pixels``
            pixels. The size of the common formats is checked before they are decoded.
    """
    return _read(path, max_pixels)[0]


def read_gray_and_colour(path: Path, max_pixels: int | None = None) -> tuple[UInt8Array, UInt8Array | None]:
    """Read an image file as ``read_gray`` does, and also in colour, uint8 [H, W, 3] (BGR)."""
    gray, data = _read(path, max_pixels)
    return gray, decode_colour(data)


def _read(path: Path, max_pixels: int | None) -> tuple[UInt8Array, bytes]:
    """Return the grey image and the bytes of the file."""
    check_readable(path)
    try:
        data = read_regular(path, _MAX_IMAGE_BYTES)
    except OSError as error:
        raise InputError(f"{path}: cannot read it: {error.strerror}") from None
    # OpenCV decodes a truncated JPEG to a partly grey image without an error. Since 4.11 it does so only if the rest of
    # the file is filled with zeros, as after the removal of a memory card.
    if not _is_whole(data):
        raise InputError(f"{path}: the image is cut short or damaged; copy it again")
    _check_pixels(path, image_size(data), max_pixels)
    gray = decode_gray(data, str(path))
    _check_pixels(path, (gray.shape[1], gray.shape[0]), max_pixels)
    return gray, data


def _check_pixels(path: Path, size: tuple[int, int] | None, max_pixels: int | None) -> None:
    if size is not None and max_pixels is not None and size[0] * size[1] > max_pixels:
        raise InputError(
            f"{path}: the image has {size[0]}x{size[1]} pixels, more than source.max_pixels = {max_pixels};"
            " make it smaller or raise the limit"
        )


def decode_gray(data: bytes, where: str) -> UInt8Array:
    """Decode the image file ``data`` to uint8 [H, W].

    Raises:
        InputError: If it cannot be decoded; the message starts with ``where``.
    """
    try:
        with hidden_stderr():  # libpng and libjpeg complain there of damaged images
            image = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_GRAYSCALE)
    except cv2.error as error:
        why = "it has more pixels than OpenCV accepts" if "MAX_IMAGE_PIXELS" in str(error) else error.err or error.code
        raise InputError(f"{where}: cannot decode the image: {why}") from None
    if image is None:
        raise InputError(f"{where}: not a readable image (JPEG, PNG, WebP, BMP, TIFF, PGM), or damaged")
    return np.asarray(image, dtype=np.uint8)


def decode_colour(data: bytes) -> UInt8Array | None:
    """Decode the image file ``data`` to BGR, uint8 [H, W, 3]; None if it cannot be decoded."""
    with hidden_stderr():
        bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    return None if bgr is None else np.asarray(bgr, np.uint8)


def write_image(path: Path, image: UInt8Array) -> None:
    """Write ``image``, uint8 grey [H, W] or BGR [H, W, 3], in the format given by the suffix of ``path``.

    Raises:
        OutputError: If the image cannot be encoded or written.
    """
    good, encoded = cv2.imencode(opencv_path(path.suffix), image)
    if not good:
        raise OutputError(f"{path}: the image cannot be encoded as {path.suffix}")
    write_bytes_atomically(path, encoded.tobytes())


def _natural(name: str) -> list[tuple[int, int, str]]:
    pieces = re.split(r"(\d+)", name)
    return [(1, int(piece), "") if piece.isdecimal() else (0, 0, piece) for piece in pieces]


def _is_whole(data: bytes) -> bool:
    """Return whether a JPEG or PNG is complete; True for other formats, which only the decoder checks."""
    if data.startswith(_PNG_START):
        return _png_is_whole(data)
    return not data.startswith(_JPEG_START) or jpeg_is_whole(data)


def _png_is_whole(data: bytes) -> bool:
    """Return whether all chunks up to IEND are complete, the critical ones with the right checksum (PNG, section 5)."""
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
    """Return whether the JPEG ``data`` has an end marker after the start of its image data."""
    # Skip the segments before the image data, since an embedded thumbnail also has an end marker.
    position = len(_JPEG_START)
    for _, _, end in jpeg_segments(data):
        position = end
    # Within image data 0xFF is always followed by 0 or a restart marker, so this is the true end marker.
    return data.rfind(_JPEG_END, position) >= 0  # searched backwards, since it is usually at the end
