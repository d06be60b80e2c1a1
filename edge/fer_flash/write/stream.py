"""The image to write: its form, size and content."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from fer_edge.errors import InputError
from fer_flash.image.packed import HEAD_BYTES, Content, Form, content_size, damaged, form_of, open_content, reading


@dataclass(frozen=True, slots=True)
class ImageFile:
    """A card image on disk.

    Attributes:
        path: the file.
        form: raw, or the kind of archive.
        stored: size of the file in bytes.
        changed_ns: its modification time.
        size: size of the unpacked image in bytes; None if only unpacking would show it (gz).
    """

    path: Path
    form: Form
    stored: int
    changed_ns: int
    size: int | None

    def is_unchanged(self) -> bool:
        """Return whether the file still has the same size and modification time."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.stored, self.changed_ns)


class ImageStream:
    """The content of an image, from its start. Raises InputError if the file is damaged or cannot be read."""

    def __init__(self, image: ImageFile, content: Content, stored: BinaryIO) -> None:
        self._image, self._content, self._stored = image, content, stored
        self._done = 0

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer`` and return the number of bytes; fewer than its size only at the end of the image."""
        filled = self._content.read_into(buffer)
        self._done += filled
        if self._image.size is not None and filled < len(buffer) and self._done != self._image.size:
            how = f"it contains {self._done} bytes instead of {self._image.size}"
            raise damaged(str(self._image.path), how)
        return filled

    def fraction(self) -> float:
        """Return the part of the image that has been read, 0 to 1; of the stored bytes if its size is unknown."""
        if self._image.size is not None:
            return self._done / max(self._image.size, 1)
        return self._stored.tell() / max(self._image.stored, 1)


def inspect_image(path: Path) -> ImageFile:
    """Return what ``path`` contains. Raises InputError if it is not a card image in a supported form."""
    if not path.is_file():
        raise InputError(f"{path}: {'is not a file' if path.exists() else 'no such file'}; give a card image")
    with reading(str(path)), path.open("rb") as stored:
        form = form_of(stored.read(HEAD_BYTES), str(path))
        size = content_size(stored, form, str(path))
        status = os.fstat(stored.fileno())
    image = ImageFile(path, form, status.st_size, status.st_mtime_ns, size)
    with open_image(image):  # checks that it starts like a card image
        return image


@contextmanager
def open_image(image: ImageFile) -> Iterator[ImageStream]:
    """Open the image and unpack it while reading. Raises InputError if it is not a card image or cannot be opened."""
    with reading(str(image.path)):
        stored = image.path.open("rb", buffering=0)
    with stored, open_content(cast("BinaryIO", stored), image.form, str(image.path)) as content:
        yield ImageStream(image, content, cast("BinaryIO", stored))
