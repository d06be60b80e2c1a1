"""The bundle inside the package is the int8 variant of the released one."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fer_edge.model.bundle import file_sha256, load_bundle
from support.data.caches import users_cache
from support.data.fer2013 import real_fer2013
from support.environments.fresh_install import CHECKOUT

RELEASED = CHECKOUT / "models" / "fer-edge-s"


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


def test_the_released_bundle_keeps_its_promises_on_the_real_data(tmp_path: Path) -> None:
    real_fer2013()  # skips where it is not
    # The two with published numbers: int16x8 would take minutes.
    fer_edge = [sys.executable, "-m", "fer_edge"]
    bundle, report = tmp_path / "bundle", tmp_path / "report.json"
    part = [*fer_edge, "convert", RELEASED, "--variants", "float32,int8", "--out", bundle]
    subprocess.run(part, check=True, capture_output=True, timeout=120)
    command = [*fer_edge, "bench", "accuracy", "--bundle", bundle, "--json", report]
    with users_cache():
        subprocess.run(command, check=True, capture_output=True, timeout=600)
    (int8,) = accuracies(report, "int8")
    (float32,) = accuracies(report, "float32")
    assert (int8["split"], int8["n"]) == ("PublicTest", 3589)
    assert int8["accuracy"] >= 0.64
    assert abs(int8["accuracy"] - float32["accuracy"]) <= 0.005
    with load_bundle(RELEASED) as released:
        assert released.manifest.training["params"] <= 1.0e6
        assert released.manifest.training["macs"] <= 60e6
        for name in ("float32", "int8"):
            told = released.variant(name).accuracy["fer2013_public_test"]
            assert told == pytest.approx(accuracies(report, name)[0]["accuracy"], abs=1e-4)
    assert (RELEASED / "MODEL_CARD.md").is_file()


def test_the_published_numbers_are_those_of_the_committed_reports() -> None:
    """The reports are of the files in models/, and the tables in README.md and the model cards are made from them."""
    command = [sys.executable, str(CHECKOUT / "benchmarks" / "published_numbers.py"), "--check"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr or "published numbers differ: make bench-pages"


def accuracies(report: Path, variant: str) -> list[dict[str, Any]]:
    results = json.loads(report.read_text())["results"]
    found: list[dict[str, Any]] = next(row for row in results if row["variant"] == variant)["accuracy"]
    return found
