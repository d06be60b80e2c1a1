"""Writes an image so that at any moment the card is either whole or clearly unbootable, never half right.

A Raspberry Pi finds its system through the partition table in a card's first sectors; without one it starts nothing
(Raspberry Pi documentation, "Raspberry Pi boot modes"). So, each step synced before the next:

1. the first MiB, and the last one, where an old GPT keeps its backup, become zero;
2. all that comes after the first MiB is written, read back and compared;
3. the rest of the first MiB is written, read back and compared;
4. the first 4096 bytes, which make the card one, are written, and read back and compared.

Whatever ends this before step 4, be it SIGKILL or a pulled plug, leaves a card without a partition table; so does a
comparison that fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_flash.write.bmap import BlockMap
from fer_flash.write.ledger import Area
from fer_flash.write.medium import Medium, aligned_buffer
from fer_flash.write.meter import Meter
from fer_flash.write.read_ahead import FIRST_BYTES, HEAD_BYTES, Chunk, ReadAhead
from fer_flash.write.stream import ImageFile, open_image
from fer_flash.write.verifier import compare

_NOT_BOOTABLE = "the card is not bootable; write it again"
_UNKNOWN = "what the card holds now is not known; write it again"


@dataclass(frozen=True, slots=True)
class Written:
    """What was done: bytes written, and bytes compared of them, 0 where nothing was.

    ``from_memory`` counts the bytes among the compared ones that came from the page cache instead of the medium.
    """

    bytes_written: int
    bytes_compared: int
    from_memory: int


def write_image(image: ImageFile, medium: Medium, block_map: BlockMap | None, *, verify: bool) -> Written:
    """Write ``image`` to ``medium``: all of it, or what ``block_map`` names.

    Raises InputError where the image is damaged or does not belong to its map, OutputError where the medium does not
    take it, CheckFailedError where it does not give it back; each says what became of the card, and so does a
    KeyboardInterrupt that comes meanwhile.
    """
    with _told(_UNKNOWN):
        _erase_tables(medium)
    head = aligned_buffer()[:HEAD_BYTES]
    total = image.size if block_map is None else block_map.mapped_bytes
    from_memory = 0
    with _told(_NOT_BOOTABLE):
        with Meter(f"writing {medium.path}", total) as meter:
            areas = _write_body(image, medium, block_map, head, meter)
            medium.sync()
        body = [area for area in areas if area.offset >= HEAD_BYTES]
        rest = [area for area in areas if FIRST_BYTES <= area.offset < HEAD_BYTES]
        first = [area for area in areas if area.offset < FIRST_BYTES]
        if verify:
            with Meter(f"comparing {medium.path}", sum(area.length for area in body)) as meter:
                from_memory += compare(medium, body, image, meter)
        with _taken_back(medium):
            for part in (rest, first):
                for area in part:
                    medium.write(area.offset, head[area.offset : area.offset + area.length])
                medium.sync()
                if verify:
                    from_memory += compare(medium, part, image, meter)
    written = sum(area.length for area in areas)
    return Written(written, written if verify else 0, from_memory)


def _erase_tables(medium: Medium) -> None:
    """Leave no partition table, so that nobody takes the card for what it was before."""
    medium.zero(0, min(HEAD_BYTES, medium.size))
    # A GPT has a copy in the last 33 blocks (UEFI specification 2.10, section 5.3.1), from which tools restore it.
    tail = max(medium.size - HEAD_BYTES, 0) // FIRST_BYTES * FIRST_BYTES
    medium.zero(tail, medium.size - tail)
    medium.sync()


def _write_body(
    image: ImageFile, medium: Medium, block_map: BlockMap | None, head: memoryview, meter: Meter
) -> Sequence[Area]:
    """Write what lies after the head, and keep the head; the areas of both."""
    areas: list[Area] = []
    with open_image(image) as stream, ReadAhead(stream, block_map, medium.block) as chunks:
        for chunk in chunks:
            if chunk.offset + len(chunk.data) > medium.size:
                raise OutputError(
                    f"{medium.path}: full at byte {medium.size}, and the image goes on; take a larger card"
                )
            for area in chunk.areas:
                data = _data(chunk, area)
                if area.offset < HEAD_BYTES:
                    head[area.offset : area.offset + area.length] = data
                elif area.is_zero:
                    # Zeros are written too, be they holes of a sparse file or not: the card holds other things there.
                    medium.zero(area.offset, area.length)
                else:
                    medium.write(area.offset, data)
                meter.advance(area.length, stream.fraction())
            areas += chunk.areas
    return areas


def _data(chunk: Chunk, area: Area) -> memoryview:
    start = area.offset - chunk.offset
    return chunk.data[start : start + area.length]


@contextmanager
def _taken_back(medium: Medium) -> Iterator[None]:
    """Where the block fails, the card's first bytes become zero again, if it takes them."""
    try:
        yield
    except BaseException:
        with suppress(OutputError):
            medium.zero(0, min(FIRST_BYTES, medium.size))
            medium.sync()
        raise


@contextmanager
def _told(state: str) -> Iterator[None]:
    """Whatever ends the block early, its message says what became of the card."""
    try:
        yield
    except (InputError, OutputError, CheckFailedError) as error:
        raise type(error)(f"{error}; {state}") from error
    except Exception:  # a defect of ours, which the command says in its own words
        raise
    except BaseException as error:  # Ctrl-C, SIGTERM
        error.args = (state,)
        raise
