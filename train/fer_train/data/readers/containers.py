"""Open a CSV as a stream of bytes: plain, xz, gzip, zip or a gzipped tar.

The format is detected from the first bytes, not from the name, so that a renamed file opens too.
"""

from __future__ import annotations

import gzip
import hashlib
import lzma
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, BinaryIO, Protocol

from fer_edge.errors import InputError
from fer_edge.system.messages import printable

CSV_NAMES = ("fer2013.csv", "icml_face_data.csv")

DAMAGE_ERRORS = (
    OSError,
    EOFError,
    lzma.LZMAError,
    zlib.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    RuntimeError,
    UnicodeDecodeError,
)
"""Exceptions of the standard library for truncated or damaged containers, on opening and on reading.

zipfile raises the last two: for an encrypted or unknown format, and for a member name that is not UTF-8.
"""

_TAR_MAGIC_AT = 257


class LineSource(Protocol):
    """An opened container of any format."""

    def readline(self, size: int = -1, /) -> bytes:
        """Return the next line with its newline, at most ``size`` bytes of it; empty at the end."""
        ...


@dataclass(frozen=True, slots=True)
class CsvStream:
    """``lines`` returns the decompressed bytes, ``position`` the number of bytes read from the file on disk."""

    lines: LineSource
    position: Callable[[], int]


@contextmanager
def open_csv(path: Path) -> Iterator[CsvStream]:
    """Open the CSV in ``path``.

    Raises:
        InputError: if it cannot be opened, or if the archive contains no CSV.
    """
    with ExitStack() as stack:
        try:
            raw = stack.enter_context(path.open("rb"))
            lines = _decompressed(raw, path, stack)
        except DAMAGE_ERRORS as error:
            raise InputError(f"{path}: cannot be opened ({error}); download it again, or unpack it yourself") from error
        yield CsvStream(lines, raw.tell)


def _decompressed(raw: BinaryIO, path: Path, stack: ExitStack) -> LineSource:
    magic = raw.read(6)
    raw.seek(0)
    if magic.startswith(b"\xfd7zXZ\0"):
        return stack.enter_context(lzma.open(raw))
    if magic.startswith(b"PK"):
        return _zip_member(stack.enter_context(zipfile.ZipFile(raw)), path, stack)
    if magic.startswith(b"\x1f\x8b"):
        if _holds_tar(raw):
            _check_one_csv(raw, path)
            return _tar_member(stack.enter_context(tarfile.open(fileobj=raw, mode="r|gz")), path)
        return stack.enter_context(gzip.open(raw))
    return raw


def _holds_tar(raw: BinaryIO) -> bool:
    with gzip.open(raw) as unpacked:
        start = unpacked.read(_TAR_MAGIC_AT + 5)
    raw.seek(0)
    return start[_TAR_MAGIC_AT:] == b"ustar"


def _zip_member(archive: zipfile.ZipFile, path: Path, stack: ExitStack) -> LineSource:
    csv_members = [name for name in archive.namelist() if name.lower().endswith(".csv")]
    known = [name for name in csv_members if PurePosixPath(name).name in CSV_NAMES]
    if not known and len(csv_members) != 1:
        raise InputError(f"{path}: holds neither {' nor '.join(CSV_NAMES)}")
    if len(known) > 1:
        _check_equal([(name, _digest(stack.enter_context(archive.open(name)))) for name in known], path)
    return stack.enter_context(archive.open((known or csv_members)[0]))


def _check_one_csv(raw: BinaryIO, path: Path) -> None:
    """Raise InputError for a tar with several known CSVs that differ: the user has to choose one."""
    found = []
    # The reader reports damage, with its line.
    with suppress(*DAMAGE_ERRORS), tarfile.open(fileobj=raw, mode="r|gz") as archive:
        for member in archive:
            if member.isfile() and PurePosixPath(member.name).name in CSV_NAMES:
                lines = archive.extractfile(member)
                if lines is not None:
                    found.append((member.name, _digest(lines)))
    _check_equal(found, path)
    raw.seek(0)


def _check_equal(members: list[tuple[str, bytes]], path: Path) -> None:
    if len({digest for _, digest in members}) > 1:
        names = ", ".join(printable(name) for name, _ in members)
        raise InputError(f"{path}: holds several different CSV files ({names}); unpack the one you mean")


def _digest(stream: IO[bytes]) -> bytes:
    return hashlib.file_digest(stream, "sha256").digest()  # type: ignore[arg-type]


def _tar_member(archive: tarfile.TarFile, path: Path) -> LineSource:
    for member in archive:
        if member.isfile() and PurePosixPath(member.name).name in CSV_NAMES:
            lines = archive.extractfile(member)
            if lines is not None:
                return lines
    raise InputError(f"{path}: holds neither {' nor '.join(CSV_NAMES)}")
