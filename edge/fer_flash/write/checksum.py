"""The published SHA-256 of an image file: given as an option, or in a file next to it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_flash.image.packed import other_sha256, parse_sha256

# A line of sha256sum: the hash, a space, a space or an asterisk for binary, the name (GNU coreutils manual, "md5sum").
_LINE = re.compile(r"([0-9a-fA-F]{64})(?: [ *](.+))?")
_MAX_FILE_BYTES = 1 << 20
_STEP_BYTES = 1 << 22


@dataclass(frozen=True, slots=True)
class Checksum:
    """A SHA-256 in lower-case hexadecimal, and where it comes from, for messages."""

    sha256: str
    source: str


def find_checksum(image: Path, given: str | None) -> Checksum | None:
    """Return the expected SHA-256 of ``image``: ``given``, or else from ``image``.sha256; None if there is neither.

    Raises InputError if it is not a SHA-256, or the file does not list ``image``.
    """
    if given is not None:
        return Checksum(parse_sha256(given), "--sha256")
    beside = image.with_name(f"{image.name}.sha256")
    try:
        with beside.open("rb") as stream:
            text = stream.read(_MAX_FILE_BYTES).decode(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InputError(f"{beside}: cannot be read: {error.strerror}; remove it, or give --sha256") from error
    for line in text.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match and match[2] in (None, image.name):
            return Checksum(match[1].lower(), str(beside))
    raise InputError(f"{beside}: has no line for {image.name}; remove it, or give --sha256")


def check_file(image: Path, expected: Checksum, progress: Callable[[int], object]) -> None:
    """Read ``image`` and compare its SHA-256; ``progress`` is called with the number of bytes read so far.

    Raises InputError if it differs.
    """
    digest = hashlib.sha256()
    buffer = memoryview(bytearray(_STEP_BYTES))
    done = 0
    try:
        with image.open("rb", buffering=0) as stream:
            while count := stream.readinto(buffer):
                digest.update(buffer[:count])
                done += count
                progress(done)
    except OSError as error:
        raise InputError(f"{image}: cannot be read: {error.strerror}") from error
    if digest.hexdigest() != expected.sha256:
        wanted = f"{expected.sha256} ({expected.source})"
        raise InputError(f"{other_sha256(image, digest.hexdigest(), wanted)}; nothing was written")
