"""Argument types for argparse: numbers whose error message states the allowed range."""

from __future__ import annotations

import argparse
import contextlib
import math


def positive(text: str) -> float:
    """Return ``text`` as a finite number above 0."""
    with contextlib.suppress(ValueError):
        value = float(text)
        if math.isfinite(value) and value > 0:
            return value
    raise argparse.ArgumentTypeError(f"must be a number above 0, not {text!r}")


def count(text: str) -> int:
    """Return ``text`` as an integer of 1 or more."""
    with contextlib.suppress(ValueError):
        value = int(text)
        if value >= 1:
            return value
    raise argparse.ArgumentTypeError(f"must be a whole number above 0, not {text!r}")
