"""``make test-locks``: tests/edge on the versions of each lock file of the device, and on tflite-runtime.

Each lock file gets a separate environment with the wheel of this checkout. A lock file whose Python is not installed is
skipped, and one line reports it.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from arm.sandbox import run
from fer_edge.errors import FerEdgeError
from support.environments.fresh_install import CHECKOUT
from support.models.yunet import VARIABLE, find_yunet
from version_locks.environments import TARGETS, Target, build_wheel, find_python, install_wheel, make_environment

QUICK = (
    *("test_footprint", "test_pipeline", "commands/test_cli_imports", "commands/test_run_interpreter"),
    *("images/test_files", "model/test_interpreter", "sources/test_sources", "sources/v4l2/test_formats"),
    *("stages/test_appearance", "stages/test_classification", "stages/detection/test_haar"),
    "stages/detection/test_yunet",
)
"""Files of tests/edge that depend on the version of NumPy, OpenCV or the interpreter, for CI."""

_VERSIONS = """
import platform, re
from importlib.metadata import distributions
shown = {"numpy", "opencv-python-headless", "ai-edge-litert", "tflite-runtime"}
found = sorted(f"{d.name} {d.version}" for d in distributions() if re.sub("[_.]", "-", d.name.lower()) in shown)
print("Python " + platform.python_version(), *found, sep=", ")
"""


def main() -> int:
    """Run the selected tests; return 1 if one failed."""
    parser = argparse.ArgumentParser(prog="version_locks", description=__doc__.splitlines()[0])
    parser.add_argument("--environments", type=Path, default=Path(".venv-locks"), metavar="DIR", help="kept here")
    parser.add_argument("--only", choices=[target.name for target in TARGETS], help="one of them")
    parser.add_argument("--quick", action="store_true", help=f"only the tests of {', '.join(QUICK)}")
    arguments, pytest_arguments = parser.parse_known_args()
    files = [f"tests/edge/{name}.py" for name in QUICK] if arguments.quick else ["tests/edge"]
    chosen = [target for target in TARGETS if arguments.only in (None, target.name)]
    try:
        with tempfile.TemporaryDirectory() as scratch:
            wheel = build_wheel(Path(scratch))
            bundle = _make_bundles(Path(scratch))
            with ThreadPoolExecutor() as pool:  # mostly downloads and unpacking in other processes
                pythons = list(pool.map(partial(prepare, arguments.environments, wheel), chosen))
            test_one = partial(test, bundle=bundle, arguments=[*files, *pytest_arguments])
            # Few of the quick tests depend on time, so they may run beside each other, as in `make test`.
            with ThreadPoolExecutor(os.cpu_count() if arguments.quick else 1) as pool:
                results = list(pool.map(test_one, chosen, pythons))
    except FerEdgeError as error:
        sys.stderr.write(f"test-locks: {error}\n")
        return error.exit_code
    return max(results, default=0)


_MAKE_BUNDLES = """
import pathlib, sys
from support.models.bundles import make_tiny_bundle
from support.models.hostile_models import endless_beside, make_endless_bundle
from support.processes.shared_files import made_once
tiny = made_once(pathlib.Path(sys.argv[1]), make_tiny_bundle)
made_once(endless_beside(tiny), lambda folder: make_endless_bundle(tiny, folder))
"""


def _make_bundles(folder: Path) -> Path:
    """Create the bundle of the tests and an endless one next to it here, because this environment has TensorFlow."""
    bundle = Path(os.environ.get("TINY_BUNDLE") or folder / "tiny")  # in .ci/run `make test` has made it
    # In a separate process, because TensorFlow writes a lot to stderr.
    run([sys.executable, "-c", _MAKE_BUNDLES, bundle])
    return bundle


def prepare(environments: Path, wheel: Path, target: Target) -> Path | None:
    """Return the Python of the environment of ``target``; None if its Python version is not installed."""
    found = find_python(target.python)
    if found is None:
        return None
    python = make_environment(target, found, (environments / target.name).absolute())
    install_wheel(python, wheel)
    return python


def _yunet() -> dict[str, str]:
    """Return the variable with the path of YuNet's file, which only a package of the development lock contains."""
    path = find_yunet()
    return {} if path is None else {VARIABLE: str(path)}


def test(target: Target, python: Path | None, bundle: Path, arguments: list[str]) -> int:
    """Run pytest in the environment of ``target`` and print its output at the end; return 1 if a test fails, else 0."""
    if python is None:
        print(f"{target.name}: SKIPPED: Python {target.python} is not installed, neither on the PATH nor by pyenv")
        return 0
    versions = subprocess.run([python, "-c", _VERSIONS], capture_output=True, text=True, check=True).stdout.strip()
    # The tests start the commands many times; .pyc files make that faster.
    unwanted = {"PYTHONPATH", "PYTHONDONTWRITEBYTECODE"}
    environment = {name: value for name, value in os.environ.items() if name not in unwanted}
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments],
        cwd=CHECKOUT,
        env={**environment, "TINY_BUNDLE": str(bundle), **_yunet()},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        check=False,
    )
    print(f"{target.name}: {versions}\n{done.stdout}", flush=True)
    return int(done.returncode != 0)  # below 0 if a signal ended it


if __name__ == "__main__":
    sys.exit(main())
