"""Fixtures for the tests of the runtime."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fer_edge.sources.decoders import pyav
from support.models.bundles import made_once
from support.models.hostile_models import endless_beside, make_endless_bundle
from support.processes.edge_command import Decoder, write_video


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``clip.mp4``, two seconds of the demo scene with a face, 15 frames per second. Copy it before changing it."""
    return write_video(tmp_path_factory.mktemp("media") / "clip.mp4", 30)


@pytest.fixture(params=["opencv", "pyav"])
def decoder(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with each decoder of films and streams, in this process and in the commands that it starts."""
    name: str = request.param
    if name == "pyav":
        pytest.importorskip("av", reason="PyAV, the extra video, is not installed")
    monkeypatch.setattr(Decoder, "chosen", name)
    monkeypatch.setattr(pyav, "missing_packages", lambda extra: [] if name == "pyav" else ["av"])
    return name


@pytest.fixture(scope="session")
def endless_bundle(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle whose variant float32 never returns from its first inference. Copy it before changing it.

    It is next to TINY_BUNDLE where that is named: it takes TensorFlow to make it.
    """
    folder = endless_beside(tiny_bundle) if "TINY_BUNDLE" in os.environ else tmp_path_factory.mktemp("endless") / "b"
    return made_once(folder, lambda made: make_endless_bundle(tiny_bundle, made))
