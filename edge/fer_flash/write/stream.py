"""An image as a stream of bytes, out of a raw file, .xz, .gz, or a .zip with one .img in it.

What the file holds is told from its first bytes, not from its name.
"""

from __future__ import annotations

import gzip
import io
import lzma
import os
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from fer_edge.errors import InputError
from fer_flash.image.xz import XzContent, xz_content_size

# Section 2.1.1.1 of "The .xz File Format", section 2.3.1 of RFC 1952, section 4.3.7 of PKWARE's APPNOTE.TXT.
_MAGIC = {b"\xfd7zXZ\x00": "xz", b"\x1f\x8b": "gz", b"PK\x03\x04": "zip"}
_ENDINGS = {".xz": "xz", ".gz": "gz", ".zip": "zip"}
_ZIP_METHODS = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_ENCRYPTED = 1  # of a zip member's flags
_SECTOR = 512
# Whatever is started from a disk's first sector, an MBR or a FAT boot sector, has this at its end; the protective MBR
# before a GPT has it too (UEFI specification 2.10, section 5.2.3).
_SIGNATURE = b"\x55\xaa"
_SKIP_BYTES = 1 << 20
_BROKEN = (lzma.LZMAError, EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile)


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A card image as it lies on disk.

    ``kind`` is raw, xz, gz or zip; ``stored`` the file's size in bytes, ``changed_ns`` its time of change; ``size`` is
    the image's own, None where only unpacking would tell (gz); ``member`` is the image's name in a zip.
    """

    path: Path
    kind: str
    stored: int
    changed_ns: int
    size: int | None
    member: str | None = None

    def is_unchanged(self) -> bool:
        """Whether the file still is what was looked at, as far as its size and time tell."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.stored, self.changed_ns)


class ImageStream:
    """The bytes of an image from its beginning. Raises InputError where the file is damaged or cannot be read."""

    def __init__(self, image: ImageFile, content: BinaryIO, stored: BinaryIO) -> None:
        self._image, self._content, self._stored = image, content, stored
        self._done = 0

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``; fewer bytes than it has are there only at the end of the image."""
        filled = 0
        try:
            while filled < len(buffer):
                count = cast("io.RawIOBase", self._content).readinto(buffer[filled:])
                if not count:
                    break
                filled += count
        except _BROKEN as error:
            raise damaged(self._image.path, str(error)) from error
        except OSError as error:
            raise InputError(f"{self._image.path}: cannot be read: {error.strerror or error}") from error
        self._done += filled
        if self._image.size is not None and filled < len(buffer) and self._done != self._image.size:
            raise damaged(self._image.path, f"{self._done} bytes in it, where {self._image.size} were announced")
        return filled

    def fraction(self) -> float:
        """How much of the image has been read, from 0 to 1; of its stored bytes, where its size is not known."""
        if self._image.size is not None:
            return self._done / max(self._image.size, 1)
        return self._stored.tell() / max(self._image.stored, 1)


def look_at_image(path: Path) -> ImageFile:
    """What ``path`` holds. Raises InputError unless it is a card image in a form that can be read."""
    try:
        if not path.is_file():
            raise InputError(f"{path}: {'is no file' if path.exists() else 'no such file'}; give a card image")
        with path.open("rb") as stream:
            start = stream.read(max(map(len, _MAGIC)))
            kind = next((kind for magic, kind in _MAGIC.items() if start.startswith(magic)), "raw")
            announced = _ENDINGS.get(path.suffix.lower())
            if announced is not None and kind != announced:
                raise InputError(f"{path}: is no {announced} file; download or compose it again")
            status = os.fstat(stream.fileno())
            size: int | None = status.st_size
            member = None
            if kind == "xz":
                size = xz_content_size(stream, path)
            elif kind == "gz":
                size = None
            elif kind == "zip":
                size, member = _look_into_zip(stream, path)
            image = ImageFile(path, kind, status.st_size, status.st_mtime_ns, size, member)
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from error
    if read_at(image, 0, _SECTOR)[_SECTOR - len(_SIGNATURE) :] != _SIGNATURE:
        raise InputError(f"{path}: is no card image: its first sector does not end in 55 AA, as a partition table does")
    return image


@contextmanager
def open_image(image: ImageFile) -> Iterator[ImageStream]:
    """The image's bytes, unpacked on the way. Raises InputError where the file cannot be opened."""
    with ExitStack() as stack:
        try:
            stored = stack.enter_context(image.path.open("rb", buffering=0))
            content: BinaryIO
            if image.kind == "xz":
                content = cast("BinaryIO", XzContent(stored))
            elif image.kind == "gz":
                content = cast("BinaryIO", stack.enter_context(gzip.open(stored)))
            elif image.kind == "zip":
                archive = stack.enter_context(zipfile.ZipFile(stored))
                content = cast("BinaryIO", stack.enter_context(archive.open(image.member or "")))
            else:
                content = cast("BinaryIO", stored)
        except _BROKEN as error:
            raise damaged(image.path, str(error)) from error
        except OSError as error:
            raise InputError(f"{image.path}: cannot be opened: {error.strerror or error}") from error
        yield ImageStream(image, content, cast("BinaryIO", stored))


def read_at(image: ImageFile, offset: int, length: int) -> bytes:
    """Up to ``length`` bytes of the image from ``offset`` on; what is packed is unpacked up to there."""
    with open_image(image) as stream:
        skipping = memoryview(bytearray(min(_SKIP_BYTES, max(offset, 1))))
        while offset:
            count = stream.read_into(skipping[: min(offset, len(skipping))])
            if not count:
                return b""
            offset -= count
        found = memoryview(bytearray(length))
        return bytes(found[: stream.read_into(found)])


def damaged(path: Path, how: str) -> InputError:
    """The error for a packed image that is not whole."""
    return InputError(f"{path}: damaged ({how}); download or compose it again")


def _look_into_zip(stream: BinaryIO, path: Path) -> tuple[int, str]:
    """Size and name of the one image in the zip file ``stream``."""
    try:
        with zipfile.ZipFile(stream) as archive:
            # What macOS adds lies in a folder of its own, with the names of the files that it tells about.
            images = [
                entry
                for entry in archive.infolist()
                if entry.filename.lower().endswith(".img") and not entry.filename.startswith("__MACOSX/")
            ]
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise damaged(path, str(error)) from error
    if len(images) != 1:
        raise InputError(f"{path}: holds {len(images)} files that end in .img; one is wanted")
    (entry,) = images
    if entry.flag_bits & _ENCRYPTED or entry.compress_type not in _ZIP_METHODS:
        raise InputError(f"{path}: {entry.filename} is encrypted or packed in an unknown way; unpack it yourself")
    return entry.file_size, entry.filename
