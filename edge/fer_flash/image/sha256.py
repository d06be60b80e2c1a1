"""Published SHA-256 hashes of images."""

from __future__ import annotations

import re

from fer_edge.errors import InputError


def parse_sha256(text: str) -> str:
    """Return ``text`` in lower case. Raises InputError if it is not a SHA-256."""
    digits = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise InputError(f"{text!r}: not a sha256, which has 64 hexadecimal digits")
    return digits


def other_sha256(shown: object, found: str, wanted: str) -> str:
    """Return the message for a file ``shown`` whose SHA-256 is ``found`` instead of ``wanted``."""
    return (
        f"{shown}: its sha256 is {found}, not {wanted}: another file, or damaged by the download; download it again, "
        "and check the hash where the image is published"
    )
