"""Write an image so that an interrupted card has no partition table and does not boot.

A Raspberry Pi finds its system through the partition table in the card's first sectors and boots nothing without one
(Raspberry Pi documentation, "Raspberry Pi boot modes"). The steps, each synced before the next:

1. The first MiB, and the last one, where a GPT has its backup, are overwritten with zeros.
2. Everything after the first MiB is written, read back and compared.
3. The rest of the first MiB is written, read back and compared.
4. The first 4096 bytes, which hold the partition table, are written, read back and compared.

An interruption before step 4 (SIGKILL, power loss) or a failed comparison leaves a card without a partition table.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_flash.image.compare import first_difference
from fer_flash.meter import Meter
from fer_flash.write.medium import Medium, aligned_buffer
from fer_flash.write.read_ahead import FIRST_BYTES, HEAD_BYTES, Area, ReadAhead
from fer_flash.write.stream import ImageFile, open_image

_NOT_BOOTABLE = "the card is not bootable; write it again"
_UNKNOWN = "the content of the card is now unknown; write it again"


@dataclass(frozen=True, slots=True)
class Written:
    """The result of a write, in bytes.

    ``bytes_compared`` is 0 if nothing was compared. ``from_memory`` counts the compared bytes that came from the page
    cache instead of the medium.
    """

    bytes_written: int
    bytes_compared: int
    from_memory: int


def write_image(image: ImageFile, medium: Medium, *, verify: bool) -> Written:
    """Write ``image`` to ``medium``; with ``verify`` also read it back and compare it.

    Every error, and a KeyboardInterrupt, carries a message that ends with the state of the card.

    Raises:
        InputError: if the image is damaged or changes during the write.
        OutputError: if the medium cannot be written.
        CheckFailedError: if the medium does not return what was written.
    """
    with _card_state(_UNKNOWN):
        _erase_head(medium)
    verifier = _Verifier(image, medium) if verify else None
    with _card_state(_NOT_BOOTABLE):
        _erase_tail(medium)
        with Meter(f"writing {medium.path}", image.size) as meter:
            head = _write_body(image, medium, meter)
            medium.sync()
        body_bytes = meter.done - sum(len(area.data) for area in head)
        if verifier is not None:
            with Meter(f"comparing {medium.path}", body_bytes) as meter:
                _compare_body(image, medium, verifier, meter)
        with _erase_first_on_error(medium):
            _write_head(medium, head, verifier)
    written = body_bytes + sum(len(area.data) for area in head)
    return Written(written, verifier.compared if verifier else 0, verifier.from_memory if verifier else 0)


def _erase_head(medium: Medium) -> None:
    """Remove the partition table, so that an interrupted card does not look like the old one."""
    medium.zero(0, min(HEAD_BYTES, medium.size))
    medium.sync()


def _erase_tail(medium: Medium) -> None:
    """Remove the backup of a GPT, which is in the last 33 blocks (UEFI specification 2.10, section 5.3.1)."""
    start = max(medium.size - HEAD_BYTES, 0) // FIRST_BYTES * FIRST_BYTES
    medium.zero(start, medium.size - start)


def _write_body(image: ImageFile, medium: Medium, meter: Meter) -> list[Area]:
    """Write everything after the head; return the areas of the head, in order, in a separate buffer."""
    head: list[Area] = []
    buffer = aligned_buffer()
    with open_image(image) as stream, ReadAhead(stream, medium.block) as chunks:
        for chunk in chunks:
            if chunk.end > medium.size:
                raise OutputError(
                    f"{medium.path}: full at byte {medium.size}, before the end of the image; use a larger card"
                )
            for area in chunk.areas:
                if area.offset < HEAD_BYTES:
                    head.append(_copied(area, buffer))
                elif area.is_zero:
                    # Holes of a sparse image are written too: the card may hold old data there.
                    medium.zero(area.offset, len(area.data))
                else:
                    medium.write(area.offset, area.data)
                meter.advance(len(area.data), stream.fraction())
    return head


def _compare_body(image: ImageFile, medium: Medium, verifier: _Verifier, meter: Meter) -> None:
    medium.forget()
    with open_image(image) as stream, ReadAhead(stream, medium.block) as chunks:
        for chunk in chunks:
            for area in chunk.areas:
                if area.offset >= HEAD_BYTES:
                    verifier.compare(area)
                    meter.advance(len(area.data), stream.fraction())


def _write_head(medium: Medium, head: list[Area], verifier: _Verifier | None) -> None:
    """Write the head; its first bytes last, after the rest has been compared."""
    for part in (
        [area for area in head if area.offset >= FIRST_BYTES],
        [area for area in head if area.offset < FIRST_BYTES],
    ):
        for area in part:
            medium.write(area.offset, area.data)
        medium.sync()
        if verifier is not None:
            medium.forget()
            for area in part:
                verifier.compare(area)


def _copied(area: Area, head: memoryview) -> Area:
    """Copy the data of ``area`` into the buffer ``head`` and return an area that refers to the copy."""
    data = head[area.offset : area.offset + len(area.data)]
    data[:] = area.data
    return Area(area.offset, data, area.is_zero)


class _Verifier:
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


@contextmanager
def _erase_first_on_error(medium: Medium) -> Iterator[None]:
    """If the block fails, overwrite the card's first bytes with zeros, as far as the card allows it."""
    try:
        yield
    except BaseException:
        with suppress(OutputError):
            medium.zero(0, min(FIRST_BYTES, medium.size))
            medium.sync()
        raise


@contextmanager
def _card_state(state: str) -> Iterator[None]:
    """Append ``state``, the state of the card, to the message of whatever ends the block early."""
    try:
        yield
    except (InputError, OutputError, CheckFailedError) as error:
        raise type(error)(f"{error}; {state}") from error
    except Exception:  # a bug of ours: the command line reports it
        raise
    except BaseException as error:  # Ctrl-C, SIGTERM
        error.args = (state,)
        raise
