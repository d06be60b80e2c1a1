"""Fixtures for the tests of the runtime."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.edge_command import write_video


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``clip.mp4``, two seconds of the demo scene with a face, 15 frames per second. Copy it before changing it."""
    return write_video(tmp_path_factory.mktemp("media") / "clip.mp4", 30)
