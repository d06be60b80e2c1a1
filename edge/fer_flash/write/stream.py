"""The image that is to be written: what it is, and its bytes."""

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
    """A card image as it lies on disk.

    ``stored`` is the file's size in bytes, ``changed_ns`` its time of change; ``size`` is the image's own, None where
    only unpacking would tell (gz).
    """

    path: Path
    form: Form
    stored: int
    changed_ns: int
    size: int | None

    def is_unchanged(self) -> bool:
        """Whether the file still is what was looked at, as far as its size and time tell."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        return (status.st_size, status.st_mtime_ns) == (self.stored, self.changed_ns)


class ImageStream:
    """The bytes of an image from its beginning. Raises InputError where the file is damaged or cannot be read."""

    def __init__(self, image: ImageFile, content: Content, stored: BinaryIO) -> None:
        self._image, self._content, self._stored = image, content, stored
        self._done = 0

    def read_into(self, buffer: memoryview) -> int:
        """Fill ``buffer``; fewer bytes than it has are there only at the end of the image."""
        filled = self._content.read_into(buffer)
        self._done += filled
        if self._image.size is not None and filled < len(buffer) and self._done != self._image.size:
            how = f"{self._done} bytes in it, where {self._image.size} were announced"
            raise damaged(str(self._image.path), how)
        return filled

    def fraction(self) -> float:
        """How much of the image has been read, from 0 to 1; of its stored bytes, where its size is not known."""
        if self._image.size is not None:
            return self._done / max(self._image.size, 1)
        return self._stored.tell() / max(self._image.stored, 1)


def look_at_image(path: Path) -> ImageFile:
    """What ``path`` holds. Raises InputError unless it is a card image in a form that can be read."""
    if not path.is_file():
        raise InputError(f"{path}: {'is no file' if path.exists() else 'no such file'}; give a card image")
    with reading(str(path)), path.open("rb") as stored:
        form = form_of(stored.read(HEAD_BYTES), str(path))
        size = content_size(stored, form, str(path))
        status = os.fstat(stored.fileno())
    image = ImageFile(path, form, status.st_size, status.st_mtime_ns, size)
    with open_image(image):  # begins as a card image, else this says that it does not
        return image


@contextmanager
def open_image(image: ImageFile) -> Iterator[ImageStream]:
    """The image's bytes, unpacked on the way. Raises InputError where it is no card image, or cannot be opened."""
    with reading(str(image.path)):
        stored = image.path.open("rb", buffering=0)
    with stored, open_content(cast("BinaryIO", stored), image.form, str(image.path)) as content:
        yield ImageStream(image, content, cast("BinaryIO", stored))
