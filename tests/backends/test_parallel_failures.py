"""Failures of distributed training: each process reports them in one line, and the run can be resumed.

``make test-backends`` runs these tests; ``make test`` does not, because each starts two processes with JAX.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest

from fer_train.networks.model_files import load_model
from support.environments.fresh_install import CHECKOUT
from support.training.mini_run import assert_refused
from support.training.parallel import RECIPE, ended, start_pair, wait_until, write_training
from support.training.runs import cut_back

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="not all backends are installed: make test-backends"
)
LONG = RECIPE.replace("epochs = 3", "epochs = 60")
NOTICED_S = 60
"""Time limit for a process to notice that another has ended, and to end. The message names 30 s; usually it is less."""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_training(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # a run's network is imported from here
    return tmp_path


def epochs(run: Path) -> int:
    return len((run / "history.jsonl").read_text().splitlines()) if (run / "history.jsonl").exists() else 0


def in_the_middle(folder: Path) -> tuple[subprocess.Popen[str], subprocess.Popen[str]]:
    """Return a pair of processes that has completed some epochs."""
    (folder / "recipe.toml").write_text(LONG)
    pair = start_pair(folder)
    wait_until(lambda: epochs(folder / "run") >= 2 or pair[0].poll() is not None)
    return pair


@pytest.mark.parametrize(
    ("other", "words"),
    [
        (RECIPE.replace("0.05", "0.04"), ["recipe's loop.learning_rate", "0.04", "0.05"]),
        (RECIPE.replace("rotate_degrees = 2.0", "rotate_degrees = 3.0"), ["recipe's augment.rotate_degrees"]),
    ],
)
def test_other_recipes_are_told_before_training(other: str, words: list[str], folder: Path) -> None:
    (folder / "other.toml").write_text(other)
    for process in start_pair(folder, recipes=("recipe.toml", "other.toml")):
        assert_refused(ended(process), 2, "process 1 differs from process 0", *words)
    assert not (folder / "run").exists()


def test_other_data_is_told_before_training(folder: Path) -> None:
    elsewhere = folder / "elsewhere"
    elsewhere.mkdir()
    write_training(elsewhere)
    lines = (elsewhere / "fer2013.csv").read_text().splitlines(keepends=True)
    (elsewhere / "fer2013.csv").write_text("".join([lines[0], *lines[2:]]))
    pair = start_pair(folder, environments=({}, {"FER_EDGE_DATA": str(elsewhere / "fer2013.csv")}))
    for process in pair:
        assert_refused(ended(process), 2, "process 1 differs from process 0", "training images and targets")


def test_other_code_is_told_before_training(folder: Path) -> None:
    copy = folder / "copy"
    for package in ("edge/fer_edge", "train/fer_train"):
        shutil.copytree(CHECKOUT / package, copy / Path(package).name)
    pair = start_pair(folder, environments=({}, {"PYTHONPATH": f"{copy}:{folder / 'without'}"}))
    for process in pair:
        assert_refused(ended(process), 2, "process 1 differs from process 0", "code", "v0.")


def test_processors_that_round_differently_end_with_the_same_weights(folder: Path) -> None:
    """Their programs are compiled differently, as on different processors."""
    otherwise = {"XLA_FLAGS": "--xla_backend_optimization_level=3"}
    held = []
    for process in start_pair(folder, environments=({}, otherwise)):
        done = ended(process)
        assert done.returncode == 0, done.stderr
        assert "taking process 0's" in done.stderr
        held.append(re.findall(r"holds the weights ([0-9a-f]{64})", done.stderr))
    assert len(held[0]) == 3
    assert held[0] == held[1]


@pytest.mark.parametrize("killed", [0, 1])
def test_when_one_is_killed_the_other_ends_and_the_run_is_resumed(killed: int, folder: Path) -> None:
    pair = in_the_middle(folder)
    pair[killed].kill()
    since = time.monotonic()
    assert_refused(ended(pair[1 - killed]), 3, f"process {1 - killed} of 2", "lost the others", "--resume")
    assert time.monotonic() - since < NOTICED_S
    ended(pair[killed])
    done = epochs(folder / "run")
    assert 2 <= done < 60
    resumed = start_pair(folder, "--resume")
    wait_until(lambda: epochs(folder / "run") > done or resumed[0].poll() is not None)
    for process in resumed:
        process.send_signal(signal.SIGINT)
    said = [ended(process).stderr for process in resumed]
    assert f"resuming after epoch {done}" in said[0]
    assert f"resuming after epoch {done}" in said[1]
    assert epochs(folder / "run") > done, said


def test_one_that_the_system_kills_says_that_it_was_this_one(folder: Path) -> None:
    first, second = in_the_middle(folder)
    [below] = [
        int(path.parent.name)
        for path in Path("/proc").glob("[0-9]*/cmdline")
        if b"spawn_main" in path.read_bytes() and f"\nPPid:\t{second.pid}\n" in (path.parent / "status").read_text()
    ]
    os.kill(below, signal.SIGKILL)
    assert_refused(ended(second), 3, "process 1 of 2: was killed", "memory", "--resume")
    assert_refused(ended(first), 3, "process 0 of 2: lost the others")


def test_a_resumed_pair_ends_as_one_that_was_never_stopped(folder: Path) -> None:
    (folder / "recipe.toml").write_text(RECIPE.replace("epochs = 3", "epochs = 3\ncooldown_epochs = 2"))
    for process in start_pair(folder):
        assert ended(process).returncode == 0
    wanted = load_model(folder / "run/checkpoint.keras").get_weights()
    cut_back(folder / "run", 1)
    for process in start_pair(folder, "--resume"):
        done = ended(process)
        assert done.returncode == 0, done.stderr
        assert "resuming after epoch 1" in done.stderr
    assert [json.loads(line)["epoch"] for line in (folder / "run/history.jsonl").read_text().splitlines()] == [1, 2, 3]
    for ours, theirs in zip(load_model(folder / "run/checkpoint.keras").get_weights(), wanted, strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("interrupted", [0, 1])
def test_ctrl_c_in_one_ends_both(interrupted: int, folder: Path) -> None:
    pair = in_the_middle(folder)
    pair[interrupted].send_signal(signal.SIGINT)
    stopped, other = ended(pair[interrupted]), ended(pair[1 - interrupted])
    assert_refused(stopped, 130, "interrupted")
    assert "--resume" in stopped.stderr
    assert_refused(other, 3, "lost the others", "--resume")
    assert not [path for path in (folder / "run").iterdir() if ".tmp" in path.name]
    assert not (folder / "run/model.keras").exists()


def test_a_damaged_checkpoint_is_told_by_the_one_that_reads_it(folder: Path) -> None:
    for process in in_the_middle(folder):
        process.send_signal(signal.SIGINT)
        ended(process)
    checkpoint = folder / "run/checkpoint.keras"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    first, second = start_pair(folder, "--resume", wait_s=10)
    assert_refused(ended(first), 4, "checkpoint.keras")
    assert_refused(ended(second), 3, "has not met")


def test_what_is_wrong_with_the_run_is_told_by_process_0_alone(folder: Path) -> None:
    first, second = start_pair(folder, "--resume", wait_s=10)
    assert_refused(ended(first), 2, "nothing to resume")
    assert_refused(ended(second), 3, "has not met", "10 s")
