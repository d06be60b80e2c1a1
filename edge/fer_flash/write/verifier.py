"""Read back what was written and compare every byte with the image."""

from __future__ import annotations

from fer_edge.errors import CheckFailedError, InputError
from fer_flash.image.compare import first_difference
from fer_flash.write.medium import Medium, aligned_buffer
from fer_flash.write.read_ahead import Area
from fer_flash.write.stream import ImageFile


class Verifier:
    """Compare areas of ``image`` with what ``medium`` returns.

    The image is read and unpacked a second time: this runs while the card is read, needs no memory, and allows naming
    the first byte that differs, which digests from the first pass would not.

    Attributes:
        compared: bytes compared.
        from_memory: those of them that came from the page cache; always 0 for a device.
    """

    def __init__(self, image: ImageFile, medium: Medium) -> None:
        self._image, self._medium = image, medium
        self._buffer = aligned_buffer()
        self.compared = 0
        self.from_memory = 0

    def compare(self, area: Area) -> None:
        """Read ``area`` from the medium and compare it.

        Raises:
            CheckFailedError: if a byte differs; the message names its position.
            InputError: if the image file changed during the write.
            OutputError: if the card was removed.
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
            return InputError(f"{self._image.path}: changed during the write; write it again and leave it unchanged")
        return CheckFailedError(
            f"{self._medium.path}: byte {area.offset + index} reads back as {found[index]:#04x}, but"
            f" {self._image.path} has {area.data[index]:#04x}; the card or its reader is faulty: try another"
        )
