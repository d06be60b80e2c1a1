"""Open card images: raw, .xz, .gz, or a .zip that contains one .img; and check their published SHA-256.

The form is detected from the first bytes, not from the file name. Images are unpacked while they are read.
"""

from __future__ import annotations

import gzip
import lzma
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import PurePosixPath
from typing import BinaryIO, Protocol, cast

from fer_edge.errors import InputError, reason_of
from fer_edge.system.messages import printable
from fer_flash.image.xz import XzContent, xz_content_size

HEAD_BYTES = 8
"""Number of bytes that ``form_of`` needs."""


class Form(StrEnum):
    """How an image is packed."""

    RAW = "raw"
    XZ = "xz"
    GZ = "gz"
    ZIP = "zip"


# Section 2.1.1.1 of "The .xz File Format", section 2.3.1 of RFC 1952, section 4.3.7 of PKWARE's APPNOTE.TXT.
_MAGIC = {b"\xfd7zXZ\0": Form.XZ, b"\x1f\x8b": Form.GZ, b"PK\x03\x04": Form.ZIP}
# RFC 8878, section 3.1.1; bzip2.1's file format; 7zFormat.txt of the LZMA SDK; RARLAB's technote.txt.
_OTHERS = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!": "RAR"}
_ENCRYPTED = 1  # of a zip member's flags (APPNOTE.TXT, section 4.4.4)
_SECTOR = 512
# Every boot sector, MBR or FAT, ends with this signature, and so does the protective MBR before a GPT (UEFI
# specification 2.10, section 5.2.3).
_SIGNATURE = b"\x55\xaa"
_DAMAGED = (lzma.LZMAError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, EOFError, UnicodeDecodeError)


class _Readable(Protocol):
    def readinto(self, buffer: memoryview, /) -> int | None: ...


class Content:
    """The content of an image. Raises InputError unless it starts like a card's."""

    def __init__(self, stream: _Readable, shown: str) -> None:
        self._stream, self._shown = stream, shown
        self._head = memoryview(b"")
        first = memoryview(bytearray(_SECTOR))
        first = first[: self.read_into(first)]
        _demand_image(first, shown)
        self._head = first

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` and return the number of bytes; fewer than its size only at the end of the image.

        Raises InputError if the file is damaged, truncated or cannot be read.
        """
        filled = min(len(buffer), len(self._head))
        buffer[:filled], self._head = self._head[:filled], self._head[filled:]
        with reading(self._shown):
            while filled < len(buffer) and (count := self._stream.readinto(buffer[filled:])):
                filled += count
        return filled


def form_of(head: bytes, shown: str) -> Form:
    """Return the form of a file that starts with ``head``. Raises InputError for an unsupported compression."""
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise InputError(f"{shown}: compressed with {name}, which is not supported; unpack it, or use an .img.xz")
    return next((form for magic, form in _MAGIC.items() if head.startswith(magic)), Form.RAW)


def content_size(stored: BinaryIO, form: Form, shown: str) -> int | None:
    """Return the size of the image in the seekable ``stored`` without unpacking it; None if that is impossible (gz).

    Raises InputError if the file is damaged, truncated, or contains no image.
    """
    with reading(shown):
        if form is Form.XZ:
            return xz_content_size(stored)
        if form is Form.ZIP:
            with zipfile.ZipFile(stored) as archive:
                return _image_in(archive, shown).file_size
        return stored.seek(0, os.SEEK_END) if form is Form.RAW else None


@contextmanager
def open_content(stored: BinaryIO, form: Form, shown: str) -> Iterator[Content]:
    """Open the image in ``stored``, which is at its start and must be seekable for a zip; errors call it ``shown``.

    Raises InputError if it is damaged, cannot be read, or is not a card image.
    """
    with ExitStack() as stack:
        with reading(shown):
            stream: _Readable
            if form is Form.XZ:
                stream = XzContent(stored)
            elif form is Form.GZ:
                stream = stack.enter_context(gzip.GzipFile(fileobj=stored))
            elif form is Form.ZIP:
                archive = stack.enter_context(zipfile.ZipFile(stored))
                stream = cast("_Readable", stack.enter_context(archive.open(_image_in(archive, shown))))
            else:
                stream = cast("_Readable", stored)
        yield Content(stream, shown)


@contextmanager
def reading(shown: str) -> Iterator[None]:
    """Convert errors of reading a packed file into InputError; ``shown`` is the name in the message."""
    try:
        yield
    except InputError:
        raise
    except _DAMAGED as error:
        raise damaged(shown, reason_of(error)) from error
    except OSError as error:
        raise InputError(f"{shown}: cannot read it: {reason_of(error)}") from error
    except RuntimeError as error:  # zipfile: unsupported compression method or version
        raise InputError(f"{shown}: cannot unpack it: {reason_of(error)}; unpack it yourself") from error


def damaged(shown: str, how: str) -> InputError:
    """Return the error for a damaged or truncated image."""
    return InputError(f"{shown}: damaged or truncated ({how}); download or compose it again")


def parse_sha256(text: str) -> str:
    """Return ``text`` in lower case. Raises InputError if it is not a SHA-256."""
    digits = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise InputError(f"{text!r}: not a sha256, which has 64 hexadecimal digits")
    return digits


def other_sha256(shown: object, found: str, wanted: str) -> str:
    """Return the message for a file ``shown`` whose SHA-256 is ``found`` instead of ``wanted``."""
    return (
        f"{shown}: its sha256 is {found}, not {wanted}: another file, or damaged by the download; download it again, "
        "and check the hash where the image is published"
    )


def _image_in(archive: zipfile.ZipFile, shown: str) -> zipfile.ZipInfo:
    """Return the one image in ``archive``. Raises InputError if there is none or more, or it needs a password."""
    images = [entry for entry in archive.infolist() if _is_image(entry.filename)]
    if len(images) != 1:
        names = ", ".join(printable(entry.filename) for entry in images[:3]) or "none"
        raise InputError(f"{shown}: a zip must contain one .img; this one contains {len(images)} ({names})")
    if images[0].flag_bits & _ENCRYPTED:
        raise InputError(f"{shown}: {printable(images[0].filename)} in it is encrypted; unpack it yourself")
    return images[0]


def _is_image(name: str) -> bool:
    # macOS adds metadata in the folder __MACOSX, or as "._NAME".
    path = PurePosixPath(name)
    return path.suffix.lower() == ".img" and path.parts[0] != "__MACOSX" and not path.name.startswith("._")


def _demand_image(first: memoryview, shown: str) -> None:
    """Raise InputError unless the first bytes could be those of a card, before gigabytes of other data are copied."""
    if not first:
        raise InputError(f"{shown}: is empty")
    if first[_SECTOR - len(_SIGNATURE) :] != _SIGNATURE:
        raise InputError(f"{shown}: not a card image: it does not start with a partition table; download it again")
