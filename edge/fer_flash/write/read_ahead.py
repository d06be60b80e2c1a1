"""Read and unpack an image in a separate thread, while the previous chunk is written or compared."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from fer_flash.image.compare import all_zero
from fer_flash.write.medium import BUFFER_BYTES, aligned_buffer
from fer_flash.write.stream import ImageStream

HEAD_BYTES = 1 << 20
"""Size of the card's head, which holds its partition table: MBR, or GPT (UEFI specification 2.10, section 5.3). By
convention, partitions begin at 1 MiB or later."""
FIRST_BYTES = 4096
"""The part of the head that identifies a partition table: the MBR and the first sector of a GPT. 4096 bytes is the
largest block size of cards."""
_BUFFERS = 2


@dataclass(frozen=True, slots=True)
class Area:
    """A part of the image: ``data`` at byte ``offset``; ``is_zero`` if all of it is zero."""

    offset: int
    data: memoryview
    is_zero: bool


@dataclass(frozen=True, slots=True)
class Chunk:
    """A piece of the image that ends at byte ``end``, as ``areas`` in order.

    No area crosses FIRST_BYTES or HEAD_BYTES. The data is overwritten once the next chunk is requested.
    """

    end: int
    areas: tuple[Area, ...]
    buffer: memoryview


class ReadAhead:
    """Iterate once over the chunks of ``stream``; a context manager, which ends the thread on exit.

    Iterating raises what reading raises: InputError.

    Args:
        stream: the image.
        block: block size of the medium in bytes; the image's last block is padded with zeros.
    """

    def __init__(self, stream: ImageStream, block: int) -> None:
        self._stream, self._block = stream, block
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
                if count:
                    self._filled.put(self._chunk(offset, count, buffer))
                    offset += count
                if count < BUFFER_BYTES:
                    break
            else:
                return  # __exit__ was called before the end of the image
        except BaseException as error:  # noqa: BLE001 - raised again in the thread that iterates
            self._filled.put(error)
        else:
            self._filled.put(None)

    def _chunk(self, offset: int, count: int, buffer: memoryview) -> Chunk:
        padded = -(-count // self._block) * self._block
        buffer[count:padded] = bytes(padded - count)
        end = offset + padded
        areas = [
            Area(start, data, all_zero(data))
            for start, stop in _split(offset, end)
            for data in [buffer[start - offset : stop - offset]]
        ]
        return Chunk(end, tuple(areas), buffer)


def _split(start: int, end: int) -> Iterator[tuple[int, int]]:
    for border in (FIRST_BYTES, HEAD_BYTES, end):
        stop = min(border, end)
        if start < stop:
            yield start, stop
            start = stop
