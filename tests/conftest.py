"""Fixtures for all tests."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from support.data.caches import cache_in
from support.data.fer2013 import real_fer2013
from support.environments.legacy import make_legacy_environment
from support.models.bundles import make_tiny_bundle
from support.processes.shared_files import made_once
from support.results.released import ReleasedAccuracy, measure_released
from support.training.mini_run import MiniRun, fer_edge, make_mini_run

# Hypothesis must not fail a test for being slow: the machine may be busy.
settings.register_profile("fer-edge", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("fer-edge")

# A shell without job control starts `make test &` with SIGINT ignored, and programs that tests start inherit that.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# Commands are started thousands of times; each start would compile the checkout again.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Where it is installed, jsonschema builds its 38 grammars for a format that no schema here has: 2.4 s in each process.
sys.modules.setdefault("rfc3987_syntax", None)  # type: ignore[arg-type]

_TESTS = Path(__file__).parent
LONG_TESTS = ("v4l2_vm", "docs", "train", "convert", "benchmarks")
"""Folders with tests that take up to minutes. Started last, one of them would leave the other processes idle."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the folders in LONG_TESTS first; the other tests keep their order."""
    rank = {name: index for index, name in enumerate(LONG_TESTS)}
    items.sort(key=lambda item: rank.get(item.path.relative_to(_TESTS).parts[0], len(rank)))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Temporary folder that all processes of one pytest-xdist run share: use it with ``made_once``."""
    own = tmp_path_factory.getbasetemp()
    return (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(shared_folder: Path) -> Iterator[None]:
    """Keep the tests, and the processes that they start, out of the user's cache folder.

    The processes of pytest-xdist share one: most wheels are then downloaded once.
    """
    with cache_in(shared_folder / "cache"):
        yield


@pytest.fixture(scope="session")
def tiny_bundle(shared_folder: Path) -> Path:
    """Folder of a real, untrained bundle (float32 and int8). Copy it before changing it.

    TINY_BUNDLE is the folder of an existing one, for an environment without TensorFlow, or the folder to create.
    """
    named = os.environ.get("TINY_BUNDLE")
    folder = Path(named) if named else shared_folder / "tiny"
    return made_once(folder, make_tiny_bundle)


@pytest.fixture(scope="session")
def mini_run(shared_folder: Path) -> MiniRun:
    """A run that the real command trained on a miniature FER2013. Copy it before changing it."""
    return MiniRun(made_once(shared_folder / "mini", make_mini_run))


@pytest.fixture(scope="session")
def released_accuracy(shared_folder: Path) -> ReleasedAccuracy:
    """The released bundle measured on the real PublicTest; skip if FER2013 is not here."""
    real_fer2013()
    return ReleasedAccuracy(made_once(shared_folder / "released", measure_released))


@pytest.fixture(scope="session")
def legacy_python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with tflite-runtime 2.14; skip if that cannot be installed."""
    return make_legacy_environment(tmp_path_factory.mktemp("legacy") / "venv")


@pytest.fixture(scope="session")
def mini_bundle(mini_run: MiniRun, shared_folder: Path) -> Path:
    """The bundle with all variants that the real command converts from the run of ``mini_run``. Copy it first."""

    def convert(out: Path) -> None:
        # In a new process: its messages, and what it imports in which order, are tested too.
        done = fer_edge("convert", mini_run.run, "--out", out, "--variants", "all", data=mini_run.data)
        assert done.returncode == 0, done.stderr
        assert all(line.startswith("INFO fer_convert.") for line in done.stderr.splitlines()), done.stderr
        assert done.stdout.strip() == str(out)

    return made_once(shared_folder / "mini-bundle" / "mini", convert)
