"""Unpack a stock image, a file or an http(s) URL in any form of ``packed``, into a raw image, and check its hash."""

from __future__ import annotations

import hashlib
import http.client
import io
import os
import re
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, cast

from fer_edge.errors import InputError, OutputError, reason_of
from fer_edge.settings.redaction import redacted
from fer_flash.image.compare import all_zero
from fer_flash.image.packed import HEAD_BYTES, Content, Form, form_of, open_content, other_sha256, parse_sha256

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Progress = Callable[[int, int | None], object]
"""Called with the bytes of the source that are done, and their total if it is known."""

_CHUNK = 1 << 20
_HOLE = 1 << 16  # this many zeros become a hole; file systems use blocks of 4 KiB and more


def unpack(
    source: str,
    out: BinaryIO,
    *,
    sha256: str | None,
    progress: Progress | None = None,
    timeout_s: float = 30.0,
    target: str = "the image",
) -> int:
    """Write the raw image in ``source`` to ``out``, with holes for zeros, and return its size in bytes.

    Args:
        source: path or URL.
        out: an empty file, open for reading and writing; empty again after an error.
        sha256: published SHA-256 of the packed source; required for a URL.
        progress: called from time to time.
        timeout_s: seconds to wait for a server that does not answer.
        target: what errors call ``out``.

    Raises:
        InputError: if the source cannot be read, is damaged, truncated, has another hash or is not an image.
        OutputError: if ``out`` cannot be written.
    """
    shown = redacted(source)
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", source)
    if scheme and scheme[1].lower() not in ("http", "https"):
        raise InputError(f"{shown}: only http and https URLs are supported; use one of them, or a file")
    if scheme and sha256 is None:
        raise InputError(f"{shown}: a URL needs --sha256; the hash is published with the image")
    expected = None if sha256 is None else parse_sha256(sha256)
    try:
        with _opened(source, shown, timeout_s if scheme else None) as (raw, total):
            metered = _Metered(raw, shown, total, hashing=expected is not None)
            report = _reporter(progress, total)
            buffered = io.BufferedReader(metered, _CHUNK)
            form, reader = form_of(buffered.peek(HEAD_BYTES), shown), cast("BinaryIO", buffered)
            if form is Form.ZIP:
                return _from_zip(reader, metered, out, expected, report, target)
            with open_content(reader, form, shown) as content:
                size = _copy(content, out, lambda: report(metered.done), target)
            _drain(reader)  # the hash covers the whole file, including data after the last block
            metered.check(expected)
            report(metered.done)
            return size
    except BaseException:
        with suppress(OSError, ValueError):
            out.seek(0)
            out.truncate()
        raise


class _Metered(io.RawIOBase):
    """Read from ``raw``, and count and hash what is read. Raises InputError if it ends early."""

    def __init__(self, raw: IO[bytes], shown: str, total: int | None, *, hashing: bool) -> None:
        self.done = 0
        self.shown, self.total = shown, total
        self.raw = raw
        self._hash = hashlib.sha256() if hashing else None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: WriteableBuffer) -> int:
        view = memoryview(buffer).cast("B")
        with _reading(self.shown):
            data = self.raw.read(len(view))
        view[: len(data)] = data
        self.done += len(data)
        if self._hash is not None:
            self._hash.update(data)
        if not data and self.total is not None and self.done < self.total:
            raise InputError(
                f"{self.shown}: ended after {self.done} of {self.total} bytes; try again, or download it first"
            )
        return len(data)

    def check(self, expected: str | None) -> None:
        """Raise InputError unless everything that was read has this hash."""
        if self._hash is not None and self._hash.hexdigest() != expected:
            raise InputError(other_sha256(self.shown, self._hash.hexdigest(), str(expected)))


@contextmanager
def _opened(source: str, shown: str, timeout_s: float | None) -> Iterator[tuple[IO[bytes], int | None]]:
    """Open the source, a file if there is no timeout, and yield it with its size in bytes, None if unknown."""
    with _reading(shown):
        if timeout_s is not None:
            request = urllib.request.Request(source, headers={"User-Agent": "fer-edge"})
            stream = urllib.request.urlopen(request, timeout=timeout_s)
            length = stream.headers.get("Content-Length", "")
            total = int(length) if length.isdecimal() else None
        else:
            stream = io.FileIO(source)
            total = os.fstat(stream.fileno()).st_size
    with stream:
        yield stream, total


@contextmanager
def _reading(shown: str) -> Iterator[None]:
    """Convert errors of a file or a server into InputError."""
    try:
        yield
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        # For a redirect loop, the reason has several lines.
        reason = str(error.reason).partition("\n")[0]
        raise InputError(f"{shown}: the server answers {error.code}: {reason}; check the address") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error  # the reason may be an exception
        text = reason_of(cause) if isinstance(cause, BaseException) else cause
        raise InputError(f"{shown}: cannot read it: {text}") from error


def _from_zip(
    reader: IO[bytes],
    metered: _Metered,
    out: BinaryIO,
    expected: str | None,
    report: Callable[[int], object],
    target: str,
) -> int:
    """Unpack the one image in a zip. A download is stored first, since a zip's directory is at its end."""
    shown = metered.shown
    with ExitStack() as stack:
        if metered.raw.seekable():
            whole = metered.raw
            if expected is not None:
                _drain(reader)
        else:
            whole = stack.enter_context(tempfile.TemporaryFile(dir=_folder_of(out)))
            while piece := reader.read(_CHUNK):
                _write(whole, piece, "a temporary file")
                report(metered.done)
            report = _reporter(None, None)  # the download was already reported
        metered.check(expected)
        with open_content(cast("BinaryIO", whole), Form.ZIP, shown) as content:
            size = _copy(content, out, lambda: report(whole.tell()), target)
        report(whole.seek(0, io.SEEK_END))
        return size


def _folder_of(out: BinaryIO) -> Path | None:
    """Return the folder of ``out``, which has room; None if it is unknown."""
    name = getattr(out, "name", None)
    return Path(name).parent if isinstance(name, (str, os.PathLike)) else None


def _copy(image: Content, out: BinaryIO, report: Callable[[], object], target: str) -> int:
    """Write ``image`` to ``out`` with holes; return its size."""
    size = 0
    buffer = memoryview(bytearray(_CHUNK))
    while count := image.read_into(buffer):
        for start in range(0, count, _HOLE):
            part = buffer[start : min(start + _HOLE, count)]
            if all_zero(part):
                out.seek(len(part), io.SEEK_CUR)
            else:
                _write(out, part, target)
        size += count
        report()
    try:
        out.truncate(size)
        out.flush()
    except OSError as error:
        raise OutputError(f"{target}: cannot write it: {error.strerror}") from error
    return size


def _write(out: IO[bytes], data: bytes | memoryview, name: object) -> None:
    try:
        out.write(data)
    except OSError as error:
        raise OutputError(f"{name}: cannot write it: {error.strerror}") from error


def _drain(reader: IO[bytes]) -> None:
    while reader.read(_CHUNK):
        pass


def _reporter(progress: Progress | None, total: int | None) -> Callable[[int], object]:
    return (lambda done: progress(done, total)) if progress else (lambda done: None)
