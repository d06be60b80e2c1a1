"""The bundle inside the package is the int8 variant of the released one."""

from __future__ import annotations

import subprocess
import sys

import pytest

from fer_edge.model.bundle import file_sha256, load_bundle
from support.environments.fresh_install import CHECKOUT
from support.results.released import RELEASED, ReleasedAccuracy


def test_the_default_bundle_is_the_released_int8() -> None:
    with load_bundle() as default, load_bundle(RELEASED) as released:
        assert list(default.manifest.variants) == ["int8"]
        mine, theirs = default.variant("int8"), released.variant("int8")
        assert file_sha256(mine.path) == file_sha256(theirs.path)
        assert (mine.io, mine.accuracy) == (theirs.io, theirs.accuracy)
        for key in ("name", "version", "license", "labels", "input", "output", "temperature"):
            assert getattr(default.manifest, key) == getattr(released.manifest, key), key


def test_the_default_bundle_holds_nothing_else() -> None:
    with load_bundle() as default:
        assert sorted(path.name for path in default.folder.iterdir()) == ["int8.tflite", "manifest.json"]


def test_the_released_bundle_keeps_its_promises_on_the_real_data(released_accuracy: ReleasedAccuracy) -> None:
    int8, float32 = released_accuracy.of("int8"), released_accuracy.of("float32")
    assert (int8["split"], int8["n"]) == ("PublicTest", 3589)
    assert int8["accuracy"] >= 0.64
    assert abs(int8["accuracy"] - float32["accuracy"]) <= 0.005
    with load_bundle(RELEASED) as released:
        assert released.manifest.training["params"] <= 1.0e6
        assert released.manifest.training["macs"] <= 60e6
        for name, measured in (("float32", float32), ("int8", int8)):
            told = released.variant(name).accuracy["fer2013_public_test"]
            assert told == pytest.approx(measured["accuracy"], abs=1e-4)
    assert (RELEASED / "MODEL_CARD.md").is_file()


def test_the_published_numbers_are_those_of_the_committed_reports() -> None:
    """The reports are of the files in models/, and the tables in README.md and the model cards are made from them."""
    command = [sys.executable, str(CHECKOUT / "benchmarks" / "published_numbers.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr or "published numbers differ: make bench-pages"
