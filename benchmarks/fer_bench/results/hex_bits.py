"""Which images were classified correctly, as hexadecimal digits in a report."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError


def to_hex(flags: npt.NDArray[np.bool_]) -> str:
    """Return bits [N] as hexadecimal digits, first bit highest, padded with zeros."""
    return np.packbits(flags).tobytes().hex()


def from_hex(digits: str, n: int) -> npt.NDArray[np.bool_]:
    """Return the bits [n] that ``to_hex`` wrote. Raises InputError for invalid digits or another length."""
    try:
        found = np.unpackbits(np.frombuffer(bytes.fromhex(digits), np.uint8))
    except ValueError:
        raise InputError("a report whose `right` is not hexadecimal: it was changed by hand") from None
    if len(found) != -(-n // 8) * 8:
        raise InputError(f"a report whose `right` has {len(found)} bits for {n} images: it was changed by hand")
    return found[:n].astype(bool)
