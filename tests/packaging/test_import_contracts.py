"""The import contracts of pyproject.toml detect the imports that they forbid."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.environments.fresh_install import CHECKOUT

HOMES = {
    "fer_edge": "edge",
    "fer_flash": "edge",
    "fer_ssh": "edge",
    "fer_train": "train",
    "fer_bench": "benchmarks",
    "fer_convert": "convert",
    "fer_release": "release",
    "fer_chain": "chain",
    "fer_fleet": "fleet",
}


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Check a copy of the packages in ``folder``."""
    search = os.pathsep.join(str(folder / home) for home in sorted(set(HOMES.values())))
    return subprocess.run(
        [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": search},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """A copy of the packages' code and the contracts, for a test to change."""
    shutil.copy(CHECKOUT / "pyproject.toml", tmp_path)
    for package, home in HOMES.items():
        for path in (CHECKOUT / home / package).rglob("*.py"):
            target = tmp_path / path.relative_to(CHECKOUT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return tmp_path


def test_the_packages_keep_the_contracts(copied: Path) -> None:
    done = lint_imports(copied)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("room", ["edge/fer_edge", "benchmarks/fer_bench", "benchmarks/fer_bench/report"])
def test_a_new_module_must_be_placed(copied: Path, room: str) -> None:
    (copied / room / "unplaced.py").touch()
    done = lint_imports(copied)
    assert done.returncode == 1 and "unplaced" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("edge/fer_edge/stages/crop.py", "import tensorflow"),
        ("edge/fer_edge/stages/crop.py", "from fer_train.data import dataset"),
        ("edge/fer_edge/stages/crop.py", "from fer_edge import pipeline"),
        ("edge/fer_edge/stages/tracking.py", "from fer_edge.stages import motion"),
        ("train/fer_train/networks/fer_edge.py", "from fer_convert import convert"),
        ("train/fer_train/networks/vgg16.py", "from fer_train.networks import custom"),
        ("train/fer_train/networks/vgg16.py", "from fer_train.training import loop"),
        ("train/fer_train/training/inputs/batches.py", "from fer_train.training import loop"),
        ("train/fer_train/training/inputs/targets.py", "from fer_train.training.inputs import batches"),
        ("train/fer_train/data/sets.py", "from fer_train.data import dataset"),
        ("benchmarks/fer_bench/metrics.py", "from fer_convert import convert"),
        ("edge/fer_flash/write/devices.py", "from fer_train.data import dataset"),
        ("benchmarks/fer_bench/metrics.py", "from fer_bench.report import page"),
        ("benchmarks/fer_bench/latency/measure.py", "from fer_bench.pipeline import faces"),
        ("benchmarks/fer_bench/sequence/cast.py", "from fer_bench.sequence import scoring"),
        ("edge/fer_flash/image/file_systems/fat.py", "from fer_flash.write import devices"),
        ("edge/fer_flash/image/file_systems/region.py", "from fer_flash.image.file_systems import fat"),
        ("edge/fer_flash/write/devices.py", "from fer_flash.commands import list"),
        ("edge/fer_edge/commands/run.py", "from fer_flash.write import devices"),
        ("edge/fer_edge/commands/run.py", "from fer_ssh import ssh"),
        ("edge/fer_ssh/ssh.py", "from fer_flash.write import devices"),
        ("convert/fer_convert/convert.py", "from fer_flash.write import devices"),
        ("convert/fer_convert/export/tflite.py", "from fer_convert import convert"),
        ("convert/fer_convert/foreign/graph.py", "from fer_convert.foreign import files"),
        ("convert/fer_convert/commands/study.py", "from fer_convert.commands import layers"),
        ("convert/fer_convert/convert.py", "from fer_release import keys"),
        ("release/fer_release/keys.py", "from fer_release import repository"),
        ("release/fer_release/keys.py", "from fer_flash.payload import signed"),
        ("release/fer_release/keys.py", "from fer_chain import plan"),
        ("chain/fer_chain/plan.py", "from fer_convert import convert"),
        ("chain/fer_chain/plan.py", "from fer_fleet import tables"),
        ("fleet/fer_fleet/tables.py", "from fer_fleet import inbox"),
        ("edge/fer_edge/update/format.py", "from fer_edge.daemon import session"),
    ],
)
def test_a_forbidden_import_is_caught_inside_a_function_too(copied: Path, module: str, forbidden: str) -> None:
    with (copied / module).open("a") as stream:
        stream.write(f"\n\ndef spoiled() -> None:\n    {forbidden}\n")
    done = lint_imports(copied)
    assert done.returncode == 1, done.stdout + done.stderr
    assert "BROKEN" in done.stdout
