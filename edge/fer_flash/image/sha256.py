"""The SHA-256 under which an image is published."""

from __future__ import annotations

import re

from fer_edge.errors import InputError


def parse_sha256(text: str) -> str:
    """``text`` in small letters. Raises InputError for what is no SHA-256."""
    digits = text.strip().lower()
    if not re.fullmatch(r"[0-9a-f]{64}", digits):
        raise InputError(f"{text!r}: no sha256, which has 64 hexadecimal digits")
    return digits


def other_sha256(shown: object, found: str, wanted: str) -> str:
    """What is said of a file ``shown`` whose SHA-256 is ``found`` and not what is ``wanted``."""
    return (
        f"{shown}: its sha256 is {found}, not {wanted}: another file, or damaged on the way; download it again, and "
        "look the hash up where the image is published"
    )
