"""What the file systems of a card image have in common: how they are read and written, wherever they lie."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

from fer_edge.errors import ConfigError, InputError

_FIRST_S = 315532800  # 1980-01-01, the first day that a FAT can name
_LAST_S = 4354819199  # 2107-12-31, its last
_DEFAULT_S = 946684800  # 2000-01-01: no date of today, so that equal inputs make equal images


class Volume(Protocol):
    """A file system of an image.

    Paths are relative to its root and separated by "/", with none in front. Reading what is not there, or is damaged,
    raises InputError.
    """

    @property
    def free_bytes(self) -> int:
        """Room for more files, in bytes; each file takes up to a cluster or block more than its size."""
        ...

    def exists(self, path: str) -> bool:
        """Whether there is a file or a folder of that name."""
        ...

    def read(self, path: str) -> bytes:
        """The content of a file; symbolic links are followed."""
        ...

    def listdir(self, path: str) -> list[str]:
        """The names in a folder, without "." and "..", sorted; "" is the root."""
        ...

    def write(self, path: str, data: bytes | Path, *, mode: int = 0o644) -> None:
        """Make or replace a file, and the folders above it; a ``Path`` is a file of this machine to copy.

        ``mode`` holds the permissions, where the file system knows any; the owner is root. Raises OutputError where
        there is no room, and InputError for a name that cannot be, or that is a folder's.
        """
        ...


def parts_of(path: str) -> list[str]:
    """The names in ``path``; [] for the root. Raises InputError for what leads out of the volume."""
    parts = [part for part in path.split("/") if part]
    if path.startswith("/") or "." in parts or ".." in parts or "\0" in path:
        raise InputError(f"{path!r}: no path inside a card image; give one like a/b/c")
    return parts


def size_of(data: bytes | Path) -> int:
    """Bytes that ``data`` will take. Raises InputError where the file is missing."""
    if isinstance(data, bytes):
        return len(data)
    try:
        return data.stat().st_size
    except OSError as error:
        raise InputError(f"{data}: cannot read it: {error.strerror}") from error


def timestamp() -> int:
    """What written files have as their date, in seconds since 1970 (UTC): equal inputs make equal images.

    SOURCE_DATE_EPOCH where it is set (reproducible-builds.org/specs/source-date-epoch), within what a FAT can say; else
    the first day of 2000. Raises ConfigError where it is no number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return _DEFAULT_S
    try:
        return min(max(int(text), _FIRST_S), _LAST_S)
    except ValueError:
        raise ConfigError(f"SOURCE_DATE_EPOCH={text}: no number of seconds since 1970") from None
