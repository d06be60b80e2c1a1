"""An image, read and unpacked in a thread of its own, while the chunk before is being written or compared."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fer_flash.image.compare import all_zero
from fer_flash.write.bmap import BlockMap, MapCheck
from fer_flash.write.medium import BUFFER_BYTES, aligned_buffer
from fer_flash.write.stream import ImageStream

HEAD_BYTES = 1 << 20
"""The head of a card, which holds its partition table: MBR, or GPT (UEFI specification 2.10, section 5.3), and, by
custom, nothing else: partitions begin at 1 MiB or later."""
FIRST_BYTES = 4096
"""The part of the head that makes it one: MBR and the first sector of a GPT, in the largest block that cards have."""
_BUFFERS = 2


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the image that is to be written: ``data`` at ``offset``, and whether all of it is zero."""

    offset: int
    data: memoryview
    is_zero: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the image, as far as byte ``end`` of it, and the ``areas`` in it that are to be written.

    No area goes across FIRST_BYTES or HEAD_BYTES. Their data is overwritten after the next chunk was asked for.
    """

    end: int
    areas: tuple[Area, ...]
    buffer: memoryview


class ReadAhead:
    """The chunks of ``stream``, once through; a context manager, whose end ends the thread.

    ``block_map`` says what is to be written, and ``check`` holds the image to it. ``block`` is what the medium's blocks
    have in bytes: the image's last one is filled up with zeros. Iterating raises what reading raised: InputError.
    """

    def __init__(
        self, stream: ImageStream, block_map: BlockMap | None, block: int, check: MapCheck | None = None
    ) -> None:
        self._stream, self._map, self._block, self._check = stream, block_map, block, check
        self._free: queue.SimpleQueue[memoryview | None] = queue.SimpleQueue()
        self._filled: queue.SimpleQueue[Chunk | BaseException | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._read, name="image reader", daemon=True)

    def __enter__(self) -> Self:
        for _ in range(_BUFFERS):
            self._free.put(aligned_buffer())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._free.put(None)
        self._thread.join()

    def __iter__(self) -> Iterator[Chunk]:
        while True:
            chunk = self._filled.get()
            if chunk is None:
                return
            if isinstance(chunk, BaseException):
                raise chunk
            yield chunk
            self._free.put(chunk.buffer)

    def _read(self) -> None:
        try:
            offset = 0
            while (buffer := self._free.get()) is not None:
                count = self._stream.read_into(buffer)
                if self._check is not None:
                    self._check.feed(buffer[:count])
                if count:
                    self._filled.put(self._chunk(offset, count, buffer))
                    offset += count
                if count < BUFFER_BYTES:
                    break
            else:
                return  # nobody wants more
            if self._check is not None:
                self._check.finish()
        except BaseException as error:  # noqa: BLE001 - it is raised again where the chunks are taken
            self._filled.put(error)
        else:
            self._filled.put(None)

    def _chunk(self, offset: int, count: int, buffer: memoryview) -> Chunk:
        padded = -(-count // self._block) * self._block
        buffer[count:padded] = bytes(padded - count)
        end = offset + padded
        mapped = [(offset, end)] if self._map is None else self._map.areas(offset, end)
        areas = [
            Area(start, data, all_zero(data))
            for begin, finish in mapped
            for start, stop in _split(begin, finish)
            for data in [buffer[start - offset : stop - offset]]
        ]
        return Chunk(end, tuple(areas), buffer)


def _split(start: int, end: int) -> Iterator[tuple[int, int]]:
    for border in (FIRST_BYTES, HEAD_BYTES, end):
        stop = min(border, end)
        if start < stop:
            yield start, stop
            start = stop
