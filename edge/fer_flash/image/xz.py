"""Read .xz files: the size of the content without unpacking it, and the content itself.

Each stream of a file ends with an index of its blocks and their sizes (sections 2.1.2 and 4 of "The .xz File Format",
version 1.2.1, tukaani.org). Reading the indexes also detects a truncated file before anything is written.
"""

from __future__ import annotations

import io
import lzma
import os
import zlib
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer as Buffer

_HEADER_BYTES = 12
_FOOTER_BYTES = 12
_FOOTER_MAGIC = b"YZ"
_MAX_INDEX_BYTES = 1 << 26  # 64 MiB; an index has about 10 bytes per block, and blocks have megabytes
_MAX_INTEGER_BYTES = 9
_READ_BYTES = 1 << 18


class XzContent(io.RawIOBase):
    """The content of the .xz file ``stored``, all its streams; lzma.open stops at padding between streams.

    Raises lzma.LZMAError if the file is damaged, EOFError if it is truncated.
    """

    def __init__(self, stored: BinaryIO) -> None:
        super().__init__()
        self._stored = stored
        self._decoder = lzma.LZMADecompressor(lzma.FORMAT_XZ)
        self._ahead = b""

    def readable(self) -> bool:
        """Return true."""
        return True

    def readinto(self, buffer: Buffer) -> int:
        """Unpack some bytes into ``buffer``; 0 at the end."""
        view = memoryview(buffer)
        while not self._decoder.eof or self._begin_stream():
            data = self._decoder.decompress(self._packed(), len(view))
            view[: len(data)] = data
            if data:
                return len(data)
        return 0

    def _packed(self) -> bytes:
        """Return the next input of the decoder."""
        if not self._decoder.needs_input:
            return b""
        packed, self._ahead = self._ahead or self._stored.read(_READ_BYTES), b""
        if not packed:
            raise EOFError("it is truncated")
        return packed

    def _begin_stream(self) -> bool:
        """Skip padding and start the next stream; return false if there is none."""
        rest = self._decoder.unused_data.lstrip(b"\0")
        while not rest:
            packed = self._stored.read(_READ_BYTES)
            if not packed:
                return False
            rest = packed.lstrip(b"\0")
        self._decoder, self._ahead = lzma.LZMADecompressor(lzma.FORMAT_XZ), rest
        return True


def xz_content_size(stream: BinaryIO) -> int:
    """Return the unpacked size of the .xz file ``stream``. Raises lzma.LZMAError if its end is missing or damaged."""
    end = stream.seek(0, os.SEEK_END)
    total = 0
    while end > 0:
        if end % 4 or end < _HEADER_BYTES + _FOOTER_BYTES:
            raise _cut_off()
        stream.seek(end - _FOOTER_BYTES)
        footer = stream.read(_FOOTER_BYTES)
        if footer[-4:] == bytes(4):  # padding after a stream, a multiple of four bytes
            end -= 4
            continue
        end, size = _stream_before(stream, end, footer)
        total += size
    return total


def _stream_before(stream: BinaryIO, end: int, footer: bytes) -> tuple[int, int]:
    """Return the start of the stream that ends at ``end``, and its unpacked size."""
    if footer[-2:] != _FOOTER_MAGIC or zlib.crc32(footer[4:10]) != int.from_bytes(footer[:4], "little"):
        raise _cut_off()
    index_bytes = (int.from_bytes(footer[4:8], "little") + 1) * 4
    index_start = end - _FOOTER_BYTES - index_bytes
    if index_bytes > _MAX_INDEX_BYTES or index_start < _HEADER_BYTES:
        raise _cut_off()
    stream.seek(index_start)
    index = stream.read(index_bytes)
    if index[0] != 0 or zlib.crc32(index[:-4]) != int.from_bytes(index[-4:], "little"):
        raise _cut_off()
    try:
        count, at = _integer(index, 1)
        packed = unpacked = 0
        for _ in range(count):
            block, at = _integer(index, at)
            packed += (block + 3) // 4 * 4  # blocks are padded to four bytes; the index has the size without padding
            size, at = _integer(index, at)
            unpacked += size
    except IndexError as error:
        raise _cut_off() from error
    start = index_start - packed - _HEADER_BYTES
    if start < 0:
        raise _cut_off()
    return start, unpacked


def _integer(data: bytes, at: int) -> tuple[int, int]:
    """Return the number at ``at`` (seven bits per byte, lowest first, section 1.2), and the position after it."""
    value = 0
    for place in range(_MAX_INTEGER_BYTES):
        value |= (data[at + place] & 0x7F) << (7 * place)
        if not data[at + place] & 0x80:
            return value, at + place + 1
    raise IndexError("a number that does not end")


def _cut_off() -> lzma.LZMAError:
    return lzma.LZMAError("the end of the xz file is missing or wrong")
