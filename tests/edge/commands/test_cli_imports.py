"""A Pi should load only what it uses: which modules a fresh interpreter has imported."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2

from support.environments.interpreters import HERE
from support.processes.edge_command import clean_environment, face_picture

HOST_ONLY = {
    "keras",
    "matplotlib",
    "onnx",
    "onnxruntime",
    "pandas",
    "scipy",
    "sklearn",
    "statsmodels",
    "tensorflow",
    "torch",
    "tqdm",
}

IMPORT_EVERYTHING = """
import importlib, pkgutil, fer_edge
for module in pkgutil.walk_packages(fer_edge.__path__, "fer_edge."):
    if module.name.endswith("__main__"):
        continue
    importlib.import_module(module.name)
"""

COMMAND = """
from fer_edge.commands.cli import main
try:
    code = main(ARGUMENTS)
except SystemExit as end:
    code = end.code
assert code == 0, code
"""

TELL = """
import json, sys
with open("modules.json", "w") as stream:
    json.dump(sorted({name.partition(".")[0] for name in sys.modules}), stream)
"""


def modules_after(code: str, folder: Path) -> set[str]:
    """Return the top-level modules loaded in a fresh interpreter that ran ``code`` in ``folder``."""
    result = subprocess.run(
        [sys.executable, "-c", code + TELL],
        cwd=folder,
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return set(json.loads((folder / "modules.json").read_text()))


def command(*arguments: object) -> str:
    return COMMAND.replace("ARGUMENTS", repr([str(argument) for argument in arguments]))


def test_no_runtime_module_loads_host_libraries(tmp_path: Path) -> None:
    loaded = modules_after(IMPORT_EVERYTHING, tmp_path)
    assert "cv2" in loaded
    assert not loaded & HOST_ONLY


def test_run_and_predict_load_no_host_libraries(tiny_bundle: Path, tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), face_picture())
    run = command(
        *("run", "one.png", "--bundle", tiny_bundle, "--annotate", "a.webm"),
        *("--events", "e", "--trace", "t", "--stats", "s"),
    )
    predict = command("predict", "one.png", "--bundle", tiny_bundle, "--annotate", ".", "--json")
    loaded = modules_after(run + predict, tmp_path)
    assert {"cv2", HERE.replace("-", "_")} <= loaded
    assert not loaded & HOST_ONLY


def test_the_package_alone_and_its_errors_load_nothing_heavy(tmp_path: Path) -> None:
    loaded = modules_after("import fer_edge\nfrom fer_edge import FerEdgeError, SourceLostError\n", tmp_path)
    assert not loaded & (HOST_ONLY | {"cv2", "numpy", "ai_edge_litert"})


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    for arguments in ((), ("run",), ("predict",), ("demo",), ("doctor",), ("notice",)):
        loaded = modules_after(command(*arguments, "--help"), tmp_path)
        assert not loaded & (HOST_ONLY | {"cv2", "numpy", "ai_edge_litert"})
