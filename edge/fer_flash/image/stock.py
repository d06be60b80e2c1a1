"""Stock images as they are published, unpacked to raw ones while they are read, and checked.

.img, .img.xz, .img.gz, or a .zip with one .img in it, told apart by their first bytes; a file, or an http(s) URL.
"""

from __future__ import annotations

import gzip
import hashlib
import http.client
import io
import lzma
import os
import re
import tempfile
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, BinaryIO, Protocol, cast

from fer_edge.errors import InputError, OutputError
from fer_edge.redaction import redacted
from fer_flash.image.xz import XzContent

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

Progress = Callable[[int, int | None], object]
"""Told now and then how many bytes of the source are done, and of how many, where that is known."""

_CHUNK = 1 << 20
_HOLE = 1 << 16  # zeros of this length become a hole; file systems keep holes in blocks of 4 KiB and more
_ZEROS = bytes(_HOLE)
_XZ, _GZIP, _ZIP = b"\xfd7zXZ\0", b"\x1f\x8b", b"PK\x03\x04"
_OTHERS = {b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!": "RAR"}
# RuntimeError and NotImplementedError are what zipfile says of a password and of a method that it does not know.
_DAMAGED = (lzma.LZMAError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile, EOFError, RuntimeError)


def unpack(
    source: str, out: BinaryIO, *, sha256: str | None, progress: Progress | None = None, timeout_s: float = 30.0
) -> int:
    """Write the raw image in ``source`` to ``out``, an empty file, with holes for zeros; its size in bytes.

    ``sha256`` is that of the source as it was published, still packed; a URL cannot do without. ``timeout_s`` is how
    long a server may keep silent. Raises InputError for what cannot be read, is damaged, cut off, of another hash or no
    image, OutputError where ``out`` cannot be written; ``out`` is empty then.
    """
    is_url = re.match(r"https?://", source, re.IGNORECASE) is not None
    shown = redacted(source)
    expected = _expected(shown, sha256, is_url)
    try:
        with _opened(source, shown, timeout_s) as (raw, total):
            metered = _Metered(raw, shown, total, hashing=expected is not None)
            report = _reporter(progress, total)
            buffered = io.BufferedReader(metered, _CHUNK)
            head, reader = buffered.peek(8), cast("BinaryIO", buffered)
            if head.startswith(_ZIP):
                return _from_zip(reader, metered, out, expected, report)
            size = _copy(_unpacked(reader, head, shown), out, shown, lambda: report(metered.done))
            _drain(reader)  # a hash is of all, and what comes behind the last block would not have been read
            metered.check(expected)
            report(metered.done)
            return size
    except BaseException:
        with suppress(OSError, ValueError):
            out.seek(0)
            out.truncate()
        raise


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _Metered(io.RawIOBase):
    """What is read from ``raw``, counted and hashed. Raises InputError where it breaks off."""

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
                f"{self.shown}: broke off after {self.done} of {self.total} bytes; try again, or download it first"
            )
        return len(data)

    def check(self, expected: str | None) -> None:
        """Raise InputError unless all that was read has this hash."""
        if self._hash is not None and self._hash.hexdigest() != expected:
            raise InputError(
                f"{self.shown}: its sha256 is {self._hash.hexdigest()}, not {expected}: another file, or damaged on "
                "the way; download it again, and look the hash up where the image is published"
            )


def _expected(shown: str, sha256: str | None, is_url: bool) -> str | None:
    if sha256 is None:
        if is_url:
            raise InputError(f"{shown}: a download needs its sha256; it stands where the image is published")
        return None
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256.strip()):
        raise InputError(f"{sha256!r}: no sha256, which has 64 hexadecimal digits")
    return sha256.strip().lower()


@contextmanager
def _opened(source: str, shown: str, timeout_s: float) -> Iterator[tuple[IO[bytes], int | None]]:
    """The source, and its size in bytes where it is known."""
    scheme = re.match(r"([A-Za-z][A-Za-z0-9+.-]+)://", source)
    if scheme and scheme[1].lower() not in ("http", "https"):
        raise InputError(f"{shown}: only http and https are downloaded; give one of them, or a file")
    with _reading(shown):
        if scheme:
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
    """InputError for what goes wrong with a file or a server."""
    try:
        yield
    except InputError:
        raise
    except urllib.error.HTTPError as error:
        # Of redirects that lead in a circle, the reason has several lines.
        reason = str(error.reason).partition("\n")[0]
        raise InputError(f"{shown}: the server answers {error.code}: {reason}; look at the address") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        cause = error.reason if isinstance(error, urllib.error.URLError) else error  # often an error again
        text = (isinstance(cause, OSError) and cause.strerror) or str(cause) or type(cause).__name__
        raise InputError(f"{shown}: cannot read it: {text}") from error


def _unpacked(reader: BinaryIO, head: bytes, shown: str) -> _Readable:
    """The raw image in ``reader``, which begins with ``head``."""
    if head.startswith(_XZ):
        return io.BufferedReader(XzContent(reader), _CHUNK)
    if head.startswith(_GZIP):
        return gzip.GzipFile(fileobj=reader)
    for magic, name in _OTHERS.items():
        if head.startswith(magic):
            raise InputError(f"{shown}: packed by {name}, which is not read here; unpack it, or take an .img.xz")
    return reader


def _from_zip(
    reader: IO[bytes], metered: _Metered, out: BinaryIO, expected: str | None, report: Callable[[int], object]
) -> int:
    """Unpack the one image in a zip. What it holds is listed at its end: a download has to be here whole first."""
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
            report = _reporter(None, None)  # has been told of all
        metered.check(expected)
        try:
            archive = stack.enter_context(zipfile.ZipFile(whole))
            images = [each for each in archive.infolist() if _is_image(each.filename)]
            if len(images) != 1:
                names = ", ".join(each.filename for each in images[:3]) or "none"
                raise InputError(f"{shown}: a zip must hold one .img; it holds {len(images)} ({names})")
            size = _copy(archive.open(images[0]), out, shown, lambda: report(whole.tell()))
        except _DAMAGED as error:
            raise _damaged(shown, error) from error
        report(whole.seek(0, io.SEEK_END))
        return size


def _folder_of(out: BinaryIO) -> Path | None:
    """Where ``out`` is, and so there is room; None where that cannot be told."""
    name = getattr(out, "name", None)
    return Path(name).parent if isinstance(name, (str, os.PathLike)) else None


def _is_image(name: str) -> bool:
    # What macOS adds beside a file has its name behind "._".
    return name.lower().endswith(".img") and not Path(name).name.startswith("._")


def _copy(image: _Readable, out: BinaryIO, shown: str, report: Callable[[], object]) -> int:
    """Write ``image`` to ``out``, with holes; its size. Raises InputError where it is damaged, or no image at all."""
    size = 0
    while True:
        try:
            piece = image.read(_CHUNK)
        except _DAMAGED as error:
            raise _damaged(shown, error) from error
        if not size:
            _demand_image(piece, shown)
        if not piece:
            break
        for start in range(0, len(piece), _HOLE):
            part = piece[start : start + _HOLE]
            if part == _ZEROS[: len(part)]:
                out.seek(len(part), io.SEEK_CUR)
            else:
                _write(out, part, getattr(out, "name", "the image"))
        size += len(piece)
        report()
    try:
        out.truncate(size)
        out.flush()
    except OSError as error:
        raise OutputError(f"{getattr(out, 'name', 'the image')}: cannot write it: {error.strerror}") from error
    return size


def _demand_image(first: bytes, shown: str) -> None:
    """Raise InputError unless these first bytes could be a card's, so that gigabytes of other things are not copied."""
    if not first:
        raise InputError(f"{shown}: is empty")
    if first[510:512] != b"\x55\xaa":
        raise InputError(f"{shown}: holds no card image: there is no partition table at its start")


def _write(out: IO[bytes], data: bytes, name: object) -> None:
    try:
        out.write(data)
    except OSError as error:
        raise OutputError(f"{name}: cannot write it: {error.strerror}") from error


def _drain(reader: IO[bytes]) -> None:
    while reader.read(_CHUNK):
        pass


def _damaged(shown: str, error: Exception) -> InputError:
    return InputError(f"{shown}: damaged or cut off ({str(error) or type(error).__name__}); download it again")


def _reporter(progress: Progress | None, total: int | None) -> Callable[[int], object]:
    return (lambda done: progress(done, total)) if progress else (lambda done: None)
