"""The sdist, the wheel built from it, and that wheel installed outside the checkout."""

from __future__ import annotations

import configparser
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import Parser
from pathlib import Path, PurePosixPath

import cv2
import pytest

from support.data.fer2013 import write_mini_fer2013
from support.environments.fresh_install import CHECKOUT, make_base_environment, run_installed
from support.processes.edge_command import assert_one_line

PACKAGES = (
    "fer_edge",
    "fer_ssh",
    "fer_flash",
    "fer_train",
    "fer_bench",
    "fer_convert",
    "fer_release",
    "fer_chain",
    "fer_fleet",
)
COMMANDS = (
    "run",
    "predict",
    "demo",
    "notice",
    "completion",
    "doctor",
    "service",
    "data",
    "train",
    "evaluate",
    "average",
    "bench",
    "convert",
    "export",
    "profile",
    "bundle",
    "runs",
    "flash",
    "deploy",
    "release",
    "fleet",
    "chain",
    "update",
    "agent",
)


@dataclass(frozen=True)
class Distribution:
    sdist: Path
    wheel: Path

    def wheel_names(self) -> list[str]:
        with zipfile.ZipFile(self.wheel) as archive:
            return archive.namelist()

    def wheel_text(self, suffix: str) -> str:
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(suffix)]
            return archive.read(name).decode()

    def metadata(self) -> Message:
        return Parser().parsestr(self.wheel_text(".dist-info/METADATA"))


@pytest.fixture(scope="module")
def distribution(tmp_path_factory: pytest.TempPathFactory) -> Distribution:
    """The sdist of the checkout, and the wheel built from that sdist."""
    out = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), str(CHECKOUT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=out)
    assert done.returncode == 0, done.stdout + done.stderr
    (sdist,), (wheel,) = out.glob("*.tar.gz"), out.glob("*.whl")
    return Distribution(sdist, wheel)


@pytest.fixture(scope="module")
def fer_edge(distribution: Distribution, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ``fer-edge`` command of an environment with only the wheel and the base dependencies."""
    return make_base_environment(tmp_path_factory.mktemp("environment") / "venv", distribution.wheel)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder outside of the checkout."""
    yield tmp_path_factory.mktemp("elsewhere")


def test_the_wheel_holds_the_packages_and_what_they_read(distribution: Distribution) -> None:
    names = distribution.wheel_names()
    assert {PurePosixPath(name).parts[0] for name in names if ".dist-info/" not in name} == set(PACKAGES)
    needed = [f"{package}/py.typed" for package in PACKAGES] + [
        "fer_edge/model/default_bundle/manifest.json",
        "fer_edge/model/default_bundle/int8.tflite",
        "fer_edge/model/face_check/manifest.json",
        "fer_edge/model/face_check/int8.tflite",
        "fer_edge/assets/astronaut.jpg",
        "fer_edge/schema/event.schema.json",
        "fer_edge/schema/manifest.schema.json",
        "fer_edge/service/fer-edge.service",
        "fer_edge/service/config.toml",
        "fer_flash/payload/scripts/install.sh",
        "fer_flash/locks/pi-trixie.txt",
        "fer_bench/schema/profile.schema.json",
        "fer_bench/schema/report.schema.json",
        "fer_train/data/fer2013_rows.npy",
        "fer_convert/quantization/calibration_fer2013.json",
    ]
    assert [name for name in needed if name not in names] == []


def test_no_test_no_data_and_no_model_but_the_default_one_is_shipped(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as archive:
        in_sdist = archive.getnames()
    for name in [*distribution.wheel_names(), *in_sdist]:
        path = PurePosixPath(name)
        assert not {"tests", "runs", "__pycache__"} & set(path.parts), name
        assert "data" not in path.parts or "fer_train/data/" in name, name  # that is the package that reads data
        assert path.suffix not in {".csv", ".xz", ".keras", ".npz", ".pyc"}, name
        assert path.suffix != ".tflite" or path.parent.name in {"default_bundle", "face_check"}, name


def test_the_sdist_holds_the_examples(distribution: Distribution) -> None:
    with tarfile.open(distribution.sdist) as archive:
        shipped = {PurePosixPath(name).name for name in archive.getnames() if "/edge/examples/" in name}
    assert shipped == {path.name for path in (CHECKOUT / "edge" / "examples").iterdir() if path.is_file()}


def test_the_base_install_is_what_a_pi_needs(distribution: Distribution) -> None:
    metadata = distribution.metadata()
    base = [item for item in metadata.get_all("Requires-Dist", []) if "extra ==" not in item]
    assert sorted(item.split(">")[0].split("<")[0] for item in base) == [
        "ai-edge-litert",
        "msgspec",
        "numpy",
        "opencv-python-headless",
        "shtab",
        "tqdm",
    ]
    assert set(metadata.get_all("Provides-Extra", [])) >= {"train", "convert", "bench", "legacy", "dev"}
    assert metadata["License-Expression"] == "Apache-2.0"


def test_the_only_command_is_fer_edge_and_its_subcommands_are_entry_points(distribution: Distribution) -> None:
    entry_points = configparser.ConfigParser()
    entry_points.read_string(distribution.wheel_text("entry_points.txt"))
    assert dict(entry_points["console_scripts"]) == {"fer-edge": "fer_edge.__main__:program"}
    assert set(entry_points["fer_edge.commands"]) == {*COMMANDS, "bench layers", "bench study"}


def test_the_installed_command_lists_every_subcommand(fer_edge: Path, elsewhere: Path) -> None:
    done = run_installed([fer_edge, "--help"], elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert [name for name in COMMANDS if f"\n    {name} " not in done.stdout] == []


@pytest.mark.slow
def test_the_installed_demo_runs_outside_the_checkout(fer_edge: Path, elsewhere: Path) -> None:
    python = fer_edge.with_name("python")
    where = run_installed([python, "-c", "import fer_edge; print(fer_edge.__file__)"], elsewhere)
    assert str(fer_edge.parents[1]) in where.stdout, "the test would run the checkout's code"

    done = run_installed([fer_edge, "demo", "--out", "shown"], elsewhere)
    assert (done.returncode, done.stderr) == (0, "")
    assert "appeared" in done.stdout and "left" in done.stdout
    clip = cv2.VideoCapture(str(elsewhere / "shown" / "demo.mp4"))
    try:
        assert clip.get(cv2.CAP_PROP_FRAME_COUNT) > 100
        assert clip.read()[0]
    finally:
        clip.release()
    assert cv2.imread(str(elsewhere / "shown" / "contact-sheet.jpg")) is not None
    assert sorted(path.name for path in elsewhere.iterdir()) == ["shown"]


@pytest.fixture(scope="module")
def inputs(tiny_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Valid inputs, so that the missing extra is the only error."""
    import keras  # loaded for the bundle already

    folder = tmp_path_factory.mktemp("inputs")
    layers = [keras.Input((48, 48, 1)), keras.layers.Flatten(), keras.layers.Dense(7)]
    keras.Sequential(layers).save(folder / "model.keras")
    data = write_mini_fer2013(folder / "fer2013.csv", per_class=2, test_per_class=2)
    recipe = CHECKOUT / "train" / "configs" / "quick.toml"
    return {"recipe": str(recipe), "model": str(folder / "model.keras"), "data": str(data), "bundle": str(tiny_bundle)}


@pytest.mark.parametrize(
    ("command", "extra"),
    [
        ("train --config {recipe} --out run", "train"),
        ("convert {model} --out made --data {data}", "convert"),
        ("evaluate {bundle} --data {data}", "bench"),
        ("bench accuracy --bundle {bundle} --data {data}", "bench"),
    ],
)
def test_a_missing_extra_is_one_line_that_says_what_to_install(
    fer_edge: Path, tmp_path: Path, inputs: dict[str, str], command: str, extra: str
) -> None:
    done = run_installed([fer_edge, *(part.format(**inputs) for part in command.split())], tmp_path)
    assert_one_line(done, 2, "pip install '", f".whl[{extra}]'")
    assert list(tmp_path.iterdir()) == []
