"""Detectors on a part of a picture."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fer_edge.protocols import FaceDetector
from fer_edge.types import Box, Face, Search, UInt8Array


def find(detector: FaceDetector, gray: UInt8Array, region: Box | None = None, **hints: Any) -> list[Face]:
    """Return the faces in ``region`` (None: all) of ``gray``; ``hints`` are the other fields of ``Search``."""
    whole = Search.whole(gray)
    return detector.detect(gray, replace(whole, region=whole.region if region is None else region, **hints))
