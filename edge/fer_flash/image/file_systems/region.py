"""A part of an image file, addressed from its own start."""

from __future__ import annotations

import io

from fer_edge.errors import InputError, OutputError


class Region:
    """``size`` bytes from byte ``start`` of an image file.

    Args:
        stream: the image file, unbuffered.
        start: first byte.
        size: number of bytes.
        name: what errors about the content call it.
        target: what errors about writing call it (default: ``name``).
    """

    def __init__(self, stream: io.FileIO, start: int, size: int, name: str, target: str | None = None) -> None:
        self.start, self.size, self.name = start, size, name
        self.target = name if target is None else target
        self._stream = stream

    @property
    def writable(self) -> bool:
        """Whether the image was opened for writing."""
        return self._stream.writable()

    def read(self, at: int, count: int) -> bytes:
        """Return ``count`` bytes from ``at``. Raises InputError beyond the end of the region or the file."""
        self._check(at, count)
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
        """Write ``data`` at ``at``. Raises OutputError if the file cannot be written, such as on a full disk."""
        self._check(at, len(data))
        view = memoryview(data)
        try:
            self._stream.seek(self.start + at)
            while view:
                view = view[self._stream.write(view) :]
        except OSError as error:
            raise OutputError(f"{self.target}: cannot write it: {error.strerror}") from error

    def _check(self, at: int, count: int) -> None:
        if at < 0 or count < 0 or at + count > self.size:
            raise self.damaged(f"it refers to byte {at}, beyond its end at {self.size}")

    def damaged(self, what: str) -> InputError:
        """Return the error for inconsistent content."""
        return InputError(f"{self.name}: damaged: {what}; use a fresh image")


def parts_of(path: str) -> list[str]:
    """Return the names in ``path``, [] for the root. Raises InputError if ``path`` could leave the volume."""
    parts = [part for part in path.split("/") if part]
    if path.startswith("/") or "." in parts or ".." in parts or "\0" in path:
        raise InputError(f"{path!r}: not a path inside a card image; give one like a/b/c")
    return parts
