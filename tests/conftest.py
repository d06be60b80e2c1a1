"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.data.caches import cache_in
from support.environments.legacy import make_legacy_environment
from support.models.bundles import made_once, make_tiny_bundle
from support.training.road import MiniRoad, fer_edge, make_mini_road

# No test is a matter of time here: a slow machine must not make one fail.
settings.register_profile("fer-edge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fer-edge")

# A shell without job control starts `make test &` with Ctrl-C ignored, which all programs of the tests would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """No test, and no process that one starts, leaves anything in the user's cache folder."""
    with cache_in(tmp_path_factory.mktemp("cache")):
        yield


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a real, untrained bundle (float32 and int8). Shared by the session: copy it before changing it.

    TINY_BUNDLE names one that was made elsewhere, for an environment without TensorFlow, or the folder to make it in.
    """
    named = os.environ.get("TINY_BUNDLE")
    folder = Path(named) if named else tmp_path_factory.mktemp("bundle") / "tiny"
    return made_once(folder, make_tiny_bundle)


@pytest.fixture(scope="session")
def mini_road(tmp_path_factory: pytest.TempPathFactory) -> MiniRoad:
    """A run trained by the real command on a miniature FER2013. Shared by the session: copy it before changing it."""
    return make_mini_road(tmp_path_factory.mktemp("road"))


@pytest.fixture(scope="session")
def legacy_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with tflite-runtime 2.14; skips where it cannot be had."""
    return make_legacy_environment(tmp_path_factory.mktemp("legacy") / "venv")


@pytest.fixture(scope="session")
def mini_bundle(mini_road: MiniRoad, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The bundle of every variant that the real command makes of ``mini_road``'s run. Copy it before changing it."""
    out = tmp_path_factory.mktemp("convert") / "mini"
    done = fer_edge("convert", mini_road.run, "--out", out, "--variants", "all", data=mini_road.data)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(out)
    return out
