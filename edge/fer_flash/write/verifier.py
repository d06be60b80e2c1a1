"""Reading back what was written, and comparing every byte of it with the image."""

from __future__ import annotations

from fer_edge.errors import CheckFailedError, InputError
from fer_flash.image.compare import first_difference
from fer_flash.write.medium import Medium, aligned_buffer
from fer_flash.write.read_ahead import Area
from fer_flash.write.stream import ImageFile


class Verifier:
    """Compares areas of ``image`` with what ``medium`` gives back.

    The image is read, and unpacked, a second time for this: that goes on while the card is being read, takes no memory,
    and compares bytes, of which the first that differs can be named, where digests from the first time would only stand
    for them. ``compared`` counts bytes, and ``from_memory`` those of them that came from the page cache; with a device
    none do.
    """

    def __init__(self, image: ImageFile, medium: Medium) -> None:
        self._image, self._medium = image, medium
        self._buffer = aligned_buffer()
        self.compared = 0
        self.from_memory = 0

    def compare(self, area: Area) -> None:
        """Read ``area`` from the medium and compare.

        Raises CheckFailedError, with the place of the first byte that differs, and OutputError where the card is gone.
        """
        found = self._buffer[: len(area.data)]
        if self._medium.in_memory(area.offset):
            self.from_memory += len(found)
        self._medium.read(area.offset, found)
        index = first_difference(found, area.data)
        if index is not None:
            raise self._difference(area, found, index)
        self.compared += len(found)

    def _difference(self, area: Area, found: memoryview, index: int) -> InputError | CheckFailedError:
        if not self._image.is_unchanged():
            return InputError(f"{self._image.path}: changed while it was being written; leave it alone meanwhile")
        return CheckFailedError(
            f"{self._medium.path}: byte {area.offset + index} reads back as {found[index]:#04x}, where"
            f" {self._image.path} has {area.data[index]:#04x}; the card or its reader is faulty: try another"
        )
