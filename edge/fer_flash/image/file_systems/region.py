"""A part of an image file, read and written by bytes counted from its own start."""

from __future__ import annotations

import io

from fer_edge.errors import InputError, OutputError


class Region:
    """``size`` bytes from ``start`` of an image file; ``name`` says in messages which ones.

    The file is unbuffered: other programs (debugfs) write to it between our reads.
    """

    def __init__(self, stream: io.FileIO, start: int, size: int, name: str) -> None:
        self.start, self.size, self.name = start, size, name
        self._stream = stream

    @property
    def writable(self) -> bool:
        """Whether the image was opened for writing."""
        return self._stream.writable()

    def read(self, at: int, count: int) -> bytes:
        """``count`` bytes from ``at``. Raises InputError where they reach beyond the region or the file."""
        if at < 0 or count < 0 or at + count > self.size:
            raise self.damaged(f"it points to byte {at}, beyond its {self.size}")
        try:
            self._stream.seek(self.start + at)
            data = self._stream.read(count)
            while len(data) < count and (more := self._stream.read(count - len(data))):
                data += more
        except OSError as error:
            raise InputError(f"{self.name}: cannot read it: {error.strerror}") from error
        if len(data) < count:
            raise self.damaged("the file ends within it")
        return data

    def write(self, at: int, data: bytes | memoryview) -> None:
        """Put ``data`` at ``at``. Raises OutputError where the disk is full, or the file cannot be written."""
        if at < 0 or at + len(data) > self.size:
            raise self.damaged(f"it points to byte {at}, beyond its {self.size}")
        view = memoryview(data)
        try:
            self._stream.seek(self.start + at)
            while view:
                view = view[self._stream.write(view) :]
        except OSError as error:
            raise OutputError(f"{self.name}: cannot write it: {error.strerror}") from error

    def damaged(self, what: str) -> InputError:
        """The error for content that makes no sense."""
        return InputError(f"{self.name}: damaged: {what}; take a fresh image")
