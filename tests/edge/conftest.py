"""Fixtures for the tests of the runtime."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge.sources.decoders import pyav
from support.models.hostile_models import endless_beside, make_endless_bundle
from support.processes.edge_command import Decoder, write_video
from support.processes.shared_files import made_once


@pytest.fixture(scope="session")
def clip(shared_folder: Path) -> Path:
    """``clip.mp4``: two seconds of the demo scene with a face, at 15 frames/s. Copy it before changing it."""
    return made_once(shared_folder / "clip.mp4", lambda made: write_video(made, 30))


@pytest.fixture(params=["opencv", "pyav"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with each video decoder, in this process and in the commands that it starts."""
    name: str = request.param
    if name == "pyav":
        pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    monkeypatch.setattr(Decoder, "chosen", name)
    monkeypatch.setattr(pyav, "missing_packages", lambda extra: [] if name == "pyav" else ["av"])
    return name


@pytest.fixture(scope="session")
def endless_bundle(tiny_bundle: Path, shared_folder: Path) -> Path:
    """Bundle whose float32 variant never returns from its first inference. Copy it before changing it.

    If TINY_BUNDLE is set, it is next to that bundle, because creating it needs TensorFlow.
    """
    folder = endless_beside(tiny_bundle) if "TINY_BUNDLE" in os.environ else shared_folder / "endless"
    return made_once(folder, lambda made: make_endless_bundle(tiny_bundle, made))
