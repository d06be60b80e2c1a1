"""``fer-edge run`` reports the interpreter of the model, and uses the settings for it."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import install_command
from fer_edge.model.interpreter import LITERT, TFLITE_RUNTIME, LiteRtModel
from support.environments.interpreters import HERE
from support.processes.edge_command import assert_one_line, clean_environment, fer_edge

MISSING = TFLITE_RUNTIME if HERE == LITERT else LITERT
REMEDY = {LITERT: "pip install ai-edge-litert", TFLITE_RUNTIME: install_command("legacy")}


def run(folder: Path, config: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    (folder / "c.toml").write_text(f"{config}\n[output]\nstats = 's.json'\n")
    return fer_edge("run", "demo", "--config", "c.toml", "--max-frames", 2, *arguments, cwd=folder)


def test_stats_and_summary_report_the_interpreter_and_xnnpack(tmp_path: Path) -> None:
    result = run(tmp_path, "[model]\nthreads = 2")
    assert (result.returncode, result.stderr) == (0, "")
    told: dict[str, Any] = json.loads((tmp_path / "s.json").read_text())["interpreter"]
    assert list(told) == ["name", "version", "delegate", "delegated_nodes", "nodes", "threads"]
    assert (told["name"], told["version"], told["threads"]) == (HERE, version(HERE), 2)
    taken = f"{told['delegated_nodes']} of {told['nodes']} nodes"
    if HERE == LITERT:
        assert told["delegate"] == "XNNPACK"
        assert told["nodes"] * 0.9 < told["delegated_nodes"] <= told["nodes"]
        assert f"{HERE} {told['version']}, 2 threads; XNNPACK took {taken}\n" in result.stdout
    else:  # it logs that XNNPACK was created, which then runs none of an int8 graph
        assert (told["delegate"], told["delegated_nodes"]) == (None, 0)
        assert f"no delegate took {taken}\n" in result.stdout


def test_an_interpreter_selected_by_name(tmp_path: Path) -> None:
    assert run(tmp_path, f"[model]\ninterpreter = '{HERE}'").returncode == 0
    refused = run(tmp_path, f"[model]\ninterpreter = '{MISSING}'")
    assert_one_line(refused, 4, MISSING, REMEDY[MISSING])


@pytest.mark.parametrize("threads", [1, 3])
def test_opencv_uses_the_configured_number_of_threads(tmp_path: Path, threads: int) -> None:
    (tmp_path / "c.toml").write_text(f"[detector]\nthreads = {threads}\n")
    code = (
        "import sys, cv2; from fer_edge.commands.cli import main;"
        "main(['run', 'demo', '--config', 'c.toml', '--max-frames', '1']); sys.exit(f'{cv2.getNumThreads()} threads')"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=clean_environment(), capture_output=True, text=True, check=False
    )
    assert done.stderr == f"{threads} threads\n"


def test_a_model_reports_its_threads(tiny_bundle: Path) -> None:
    told = LiteRtModel(tiny_bundle / "float32.tflite", threads=3).describe()
    assert (told.name, told.threads, told.delegate) == (HERE, 3, "XNNPACK" if HERE == LITERT else None)
    without = LiteRtModel(tiny_bundle / "float32.tflite", xnnpack=False).describe()
    assert (without.delegate, without.delegated_nodes, without.nodes) == (None, 0, told.nodes)
