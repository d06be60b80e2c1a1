"""What the FAT and ext4 volumes of a card image have in common."""

from __future__ import annotations

import os
from pathlib import Path

from fer_edge.errors import ConfigError, InputError

_MIN_S = 315532800  # 1980-01-01, the first day that FAT can represent
_MAX_S = 4354819199  # 2107-12-31, the last one
_DEFAULT_S = 946684800  # 2000-01-01: not today's date, so that equal inputs give equal images


def parts_of(path: str) -> list[str]:
    """Return the names in ``path``, [] for the root. Raises InputError if ``path`` could leave the volume."""
    parts = [part for part in path.split("/") if part]
    if path.startswith("/") or "." in parts or ".." in parts or "\0" in path:
        raise InputError(f"{path!r}: not a path inside a card image; give one like a/b/c")
    return parts


def size_of(data: bytes | Path) -> int:
    """Return the number of bytes in ``data``. Raises InputError if the file is missing."""
    if isinstance(data, bytes):
        return len(data)
    try:
        return data.stat().st_size
    except OSError as error:
        raise InputError(f"{data}: cannot read it: {error.strerror}") from error


def timestamp() -> int:
    """Return the date of written files in seconds since 1970 (UTC), so that equal inputs give equal images.

    It is SOURCE_DATE_EPOCH if that is set (reproducible-builds.org/specs/source-date-epoch), limited to what FAT can
    represent, otherwise 2000-01-01. Raises ConfigError if it is not a number.
    """
    text = os.environ.get("SOURCE_DATE_EPOCH")
    if not text:
        return _DEFAULT_S
    try:
        return min(max(int(text), _MIN_S), _MAX_S)
    except ValueError:
        raise ConfigError(f"SOURCE_DATE_EPOCH={text}: not a number of seconds since 1970") from None
