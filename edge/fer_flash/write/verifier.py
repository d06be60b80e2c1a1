"""Reading back what was written, and comparing every byte of it."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from fer_edge.errors import CheckFailedError
from fer_flash.write.ledger import BLOCK_BYTES, Area, first_difference
from fer_flash.write.medium import Medium, aligned_buffer
from fer_flash.write.meter import Meter
from fer_flash.write.stream import ImageFile, read_at


def compare(medium: Medium, areas: Sequence[Area], image: ImageFile, meter: Meter) -> int:
    """Read ``areas`` of ``medium`` and hold them to their digests.

    Returns how many bytes came from the page cache, which a file cannot always avoid; none does from a device.
    Raises CheckFailedError with the place of the first byte that differs from ``image``, and OutputError where the
    medium is gone.
    """
    medium.forget()
    buffers = aligned_buffer(), aligned_buffer()
    from_memory = 0
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="reader") as reader:
        # The next area is read while this one is hashed.
        pending = reader.submit(_read, medium, areas[0], buffers[0]) if areas else None
        for index, area in enumerate(areas):
            assert pending is not None
            from_memory += area.length if pending.result() else 0
            if index + 1 < len(areas):
                pending = reader.submit(_read, medium, areas[index + 1], buffers[(index + 1) % 2])
            found = buffers[index % 2][: area.length]
            start = first_difference(area, found)
            if start is not None:
                raise _differs(medium.path, area, start, found[start : start + BLOCK_BYTES], image)
            meter.advance(area.length)
    return from_memory


def _read(medium: Medium, area: Area, buffer: memoryview) -> bool:
    """Fill ``buffer`` with ``area``; whether the page cache had it."""
    cached = medium.in_memory(area.offset)
    medium.read(area.offset, buffer[: area.length])
    return cached


def _differs(path: Path, area: Area, start: int, found: memoryview, image: ImageFile) -> CheckFailedError:
    """The error that names the first byte of a block that differs; the image is read again for it."""
    offset = area.offset + start
    wanted = read_at(image, offset, len(found)).ljust(len(found), b"\0")
    for index, (is_there, should_be) in enumerate(zip(found, wanted, strict=True)):
        if is_there != should_be:
            return CheckFailedError(
                f"{path}: byte {offset + index} reads back as {is_there:#04x}, where {image.path} has {should_be:#04x};"
                " the card or its reader is faulty: try another"
            )
    return CheckFailedError(
        f"{path}: the block at byte {offset} was written as something else than {image.path} now holds;"
        " that file changed meanwhile, or this machine's memory is faulty"
    )
