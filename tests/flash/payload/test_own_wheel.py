"""FER-Edge's own wheel: the same from a checkout and from an installation, and the same every time."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from fer_edge.errors import InputError
from fer_flash.payload.own_wheel import make_wheel
from fer_flash.payload.payload_file import PayloadFile
from support.processes.edge_command import clean_environment

_MAKE = """
import sys, pathlib, fer_flash.payload.own_wheel as w
print(w.make_wheel("fer-edge", pathlib.Path(sys.argv[1])).name)
"""


@pytest.fixture(scope="module")
def installed(small_wheels: list[PayloadFile], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which FER-Edge is installed from its wheel."""
    wheel = next(file.data for file in small_wheels if "fer_edge" in file.path)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps", "--no-index"]
    site = tmp_path_factory.mktemp("installed") / "site"
    subprocess.run([*pip, "--no-compile", "--target", site, str(wheel)], check=True, capture_output=True)
    return site


def packed(site: Path, out: Path) -> subprocess.CompletedProcess[str]:
    out.mkdir()
    environment = {**clean_environment(), "PYTHONPATH": str(site)}
    command = [sys.executable, "-c", _MAKE, str(out)]
    return subprocess.run(command, env=environment, cwd=out, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_what_is_installed_packs_to_the_wheel_that_it_came_from(
    installed: Path, small_wheels: list[PayloadFile], tmp_path: Path
) -> None:
    (original,) = (file for file in small_wheels if "fer_edge" in file.path)
    wheels = []
    for name in ("first", "second"):
        done = packed(installed, tmp_path / name)
        assert (done.returncode, done.stderr) == (0, "")
        wheels.append(tmp_path / name / done.stdout.strip())
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    assert wheels[0].name == Path(original.path).name
    assert contents(wheels[0].read_bytes()) == contents(original.read())
    # pip installs the wheel, which compares its files with its RECORD.
    again = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--no-compile", "--target"]
    subprocess.run([*again, tmp_path / "again", wheels[0]], check=True, capture_output=True)


def test_a_file_that_is_not_as_it_was_installed_is_refused(installed: Path, tmp_path: Path) -> None:
    site = shutil.copytree(installed, tmp_path / "site")
    with (site / "fer_edge" / "stages" / "crop.py").open("a") as stream:
        stream.write("# changed\n")
    done = packed(site, tmp_path / "out")
    assert done.returncode and "crop.py: changed since its installation" in done.stderr.splitlines()[-1]


def test_what_would_not_run_elsewhere_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="not pure Python"):
        make_wheel("ml-dtypes", tmp_path)


def test_what_is_not_installed_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not installed"):
        make_wheel("no-such-package", tmp_path)


def contents(wheel: bytes) -> dict[str, bytes]:
    """Return its contents except RECORD, whose lines may be in any order."""
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        return {name: archive.read(name) for name in archive.namelist() if not name.endswith("/RECORD")}
