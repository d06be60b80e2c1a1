"""What was written where, as digests, to compare with what is read back: some 1 MB of memory for 4 GB of image."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

BLOCK_BYTES = 1 << 16
"""One digest stands for so many bytes."""
_DIGEST_BYTES = 16  # of SHA-256's 32: enough that nothing is equal by chance
_ZEROS: dict[int, bytes] = {}


@dataclass(frozen=True, slots=True)
class Area:
    """``length`` bytes at ``offset`` of the medium; ``digests`` of each BLOCK_BYTES of them, one after another."""

    offset: int
    length: int
    digests: bytes

    @property
    def is_zero(self) -> bool:
        """Whether it holds nothing but zeros."""
        whole, rest = divmod(self.length, BLOCK_BYTES)
        return self.digests == _zero_digest(BLOCK_BYTES) * whole + (_zero_digest(rest) if rest else b"")


def area_of(offset: int, data: memoryview) -> Area:
    """The area that holds ``data`` at ``offset``."""
    return Area(offset, len(data), _digests(data))


def first_difference(area: Area, found: memoryview) -> int | None:
    """Where in ``area`` the first block begins that ``found`` does not equal; None where all are equal."""
    digests = _digests(found)
    if digests == area.digests:
        return None
    return next(
        index // _DIGEST_BYTES * BLOCK_BYTES
        for index in range(0, len(digests), _DIGEST_BYTES)
        if digests[index : index + _DIGEST_BYTES] != area.digests[index : index + _DIGEST_BYTES]
    )


def _digests(data: memoryview) -> bytes:
    # Of blocks this long hashlib lets go of the interpreter, so that reading, hashing and writing go on side by side.
    return b"".join(
        hashlib.sha256(data[start : start + BLOCK_BYTES]).digest()[:_DIGEST_BYTES]
        for start in range(0, len(data), BLOCK_BYTES)
    )


def _zero_digest(length: int) -> bytes:
    if length not in _ZEROS:
        _ZEROS[length] = hashlib.sha256(bytes(length)).digest()[:_DIGEST_BYTES]
    return _ZEROS[length]
