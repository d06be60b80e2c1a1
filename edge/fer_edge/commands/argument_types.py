"""Argument types for argparse: numbers whose error message states the allowed range."""

from __future__ import annotations

import argparse
import contextlib

_MAX_NUMBER = 1e9
"""Of seconds: 31 years. Sums of times that are much larger lose their fractions."""


def positive(text: str) -> float:
    """Return ``text`` as a number above 0 and at most ``_MAX_NUMBER``."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if 0 < value <= _MAX_NUMBER:
            return value
    raise argparse.ArgumentTypeError(f"must be a number above 0 and at most {_MAX_NUMBER:.0f}, not {text!r}")


def count(text: str) -> int:
    """Return ``text`` as an integer of 1 or more."""
    with contextlib.suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
