"""Writes an image so that at any moment the card is either whole or clearly unbootable, never half right.

A Raspberry Pi finds its system through the partition table in a card's first sectors; without one it starts nothing
(Raspberry Pi documentation, "Raspberry Pi boot modes"). So, each step synced before the next:

1. the first MiB, and the last one, where an old GPT keeps its backup, become zero;
2. all that comes after the first MiB is written, read back and compared;
3. the rest of the first MiB is written, read back and compared;
4. the first 4096 bytes, which make the card one, are written, read back and compared.

Whatever ends this before step 4, be it SIGKILL or a pulled plug, leaves a card without a partition table; so does a
comparison that fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass

from fer_edge.errors import CheckFailedError, InputError, OutputError
from fer_flash.meter import Meter
from fer_flash.write.bmap import BlockMap, MapCheck
from fer_flash.write.medium import Medium, aligned_buffer
from fer_flash.write.read_ahead import FIRST_BYTES, HEAD_BYTES, Area, ReadAhead
from fer_flash.write.stream import ImageFile, open_image
from fer_flash.write.verifier import Verifier

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
        _erase_head(medium)
    verifier = Verifier(image, medium) if verify else None
    with _told(_NOT_BOOTABLE):
        _erase_tail(medium)
        with Meter(f"writing {medium.path}", image.size if block_map is None else block_map.mapped_bytes) as meter:
            head = _write_body(image, medium, block_map, meter)
            medium.sync()
        in_body = meter.done - sum(len(area.data) for area in head)
        if verifier is not None:
            with Meter(f"comparing {medium.path}", in_body) as meter:
                _compare_body(image, medium, block_map, verifier, meter)
        with _taken_back(medium):
            _write_head(medium, head, verifier)
    written = in_body + sum(len(area.data) for area in head)
    return Written(written, verifier.compared if verifier else 0, verifier.from_memory if verifier else 0)


def _erase_head(medium: Medium) -> None:
    """Leave no partition table, so that nobody takes the card for what it was before."""
    medium.zero(0, min(HEAD_BYTES, medium.size))
    medium.sync()


def _erase_tail(medium: Medium) -> None:
    """Leave no copy of a GPT, which is in the last 33 blocks (UEFI specification 2.10, section 5.3.1)."""
    start = max(medium.size - HEAD_BYTES, 0) // FIRST_BYTES * FIRST_BYTES
    medium.zero(start, medium.size - start)


def _write_body(image: ImageFile, medium: Medium, block_map: BlockMap | None, meter: Meter) -> list[Area]:
    """Write what lies after the head; give back the head's areas, in order, in a buffer of their own."""
    head: list[Area] = []
    buffer = aligned_buffer()
    check = MapCheck(block_map) if block_map is not None else None
    with open_image(image) as stream, ReadAhead(stream, block_map, medium.block, check) as chunks:
        for chunk in chunks:
            if chunk.end > medium.size:
                raise OutputError(
                    f"{medium.path}: full at byte {medium.size}, and the image goes on; take a larger card"
                )
            for area in chunk.areas:
                if area.offset < HEAD_BYTES:
                    head.append(_kept(area, buffer))
                elif area.is_zero:
                    # Zeros are written too, holes of a sparse image or not: the card has other things there.
                    medium.zero(area.offset, len(area.data))
                else:
                    medium.write(area.offset, area.data)
                meter.advance(len(area.data), stream.fraction())
    return head


def _compare_body(
    image: ImageFile, medium: Medium, block_map: BlockMap | None, verifier: Verifier, meter: Meter
) -> None:
    medium.forget()
    with open_image(image) as stream, ReadAhead(stream, block_map, medium.block) as chunks:
        for chunk in chunks:
            for area in chunk.areas:
                if area.offset >= HEAD_BYTES:
                    verifier.compare(area)
                    meter.advance(len(area.data), stream.fraction())


def _write_head(medium: Medium, head: list[Area], verifier: Verifier | None) -> None:
    """Write the head, and its first bytes only when the rest of it is right."""
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


def _kept(area: Area, head: memoryview) -> Area:
    """``area`` with its data copied to its place in ``head``."""
    data = head[area.offset : area.offset + len(area.data)]
    data[:] = area.data
    return Area(area.offset, data, area.is_zero)


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
