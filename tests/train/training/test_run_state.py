"""A run's folder has one state and one writer: kills, other data, two writers, a loss that is not finite."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from fer_train.locks import FileLock
from support.data.fer2013 import write_mini_fer2013
from support.processes import fork
from support.training import killed_runs
from support.training.mini_run import RECIPE, MiniRun, assert_refused

ONE_SIZE = RECIPE.replace("sizes = [32, 48]\nsize_changes = [2]\n", "")
TINY = ONE_SIZE.replace("epochs = 3", "epochs = 2\ncooldown_epochs = 1\naveraged_epochs = 1")
KILLED_AFTER_THE_CHECKPOINT = """
import os, signal, sys
from fer_edge.commands.cli import main

renamed = 0

def hook(event, arguments):
    global renamed
    if event == "os.rename" and str(arguments[1]).endswith("checkpoint.keras"):
        renamed += 1
    elif renamed == 2 and event == "os.rename":
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(hook)
sys.exit(main(sys.argv[1:]))
"""


def train(road: MiniRun, run: Path, *options: str | Path) -> subprocess.CompletedProcess[str]:
    return fork.fer_edge("train", "--config", road.recipe, "--out", run, *options, data=road.data)


def unfinished(road: MiniRun, run: Path) -> Path:
    shutil.copytree(road.run, run)
    for name in ("model.keras", "run.json"):
        (run / name).unlink()
    return run


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
@pytest.mark.parametrize(
    "which",
    [
        "some",
        pytest.param(
            "all",
            marks=[
                pytest.mark.skipif("KILLS_LONG" not in os.environ, reason="takes 20 minutes: make test-kills"),
                pytest.mark.timeout(7200),
            ],
        ),
    ],
)
def test_a_run_killed_at_a_file_operation_continues_bit_for_bit(tmp_path: Path, which: str) -> None:
    write_mini_fer2013(tmp_path / "fer2013.csv", per_class=6, test_per_class=2)
    (tmp_path / "recipe.toml").write_text(TINY)
    command = [sys.executable, killed_runs.__file__, str(tmp_path), which]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    printed = json.loads(done.stdout.splitlines()[-1])
    operations, continued = printed["operations"], printed["continued"]
    for file in (*killed_runs.FILES, "averaged.npz", "history.jsonl", "run.json"):
        assert any(name.startswith("os.rename") and name.endswith(f" {file}") for name in operations), file
    assert len(continued) == len(operations) if which == "all" else len(continued) >= 4
    for number, result in continued.items():
        assert result == printed["whole"], f"killed before operation {number}, {operations[int(number) - 1]}"
    assert not [name for name in printed["whole"]["files"] if ".tmp" in name]


@pytest.mark.slow
def test_sigkill_between_checkpoint_and_history_trains_no_epoch_twice(mini_run: MiniRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ["train", "--config", str(mini_run.recipe), "--out", str(run), "--data", str(mini_run.data)]
    killed = subprocess.run(
        [sys.executable, "-c", KILLED_AFTER_THE_CHECKPOINT, *words], capture_output=True, timeout=600, check=False
    )
    assert killed.returncode == -9, killed.stderr
    assert len((run / "history.jsonl").read_text().splitlines()) == 1
    assert [path for path in run.iterdir() if ".tmp" in path.name]
    theirs = run / ".notes.0123abcd.tmp"
    theirs.write_text("not of a run")
    done = train(mini_run, run, "--resume")
    assert done.returncode == 0, done.stderr
    assert "resuming after epoch 2" in done.stderr
    assert [json.loads(line)["epoch"] for line in (run / "history.jsonl").read_text().splitlines()] == [1, 2, 3]
    assert [path for path in run.iterdir() if ".tmp" in path.name] == [theirs]


@pytest.mark.slow
def test_other_data_are_refused_unless_allowed_and_then_recorded(mini_run: MiniRun, tmp_path: Path) -> None:
    run = unfinished(mini_run, tmp_path / "run")
    other = write_mini_fer2013(tmp_path / "other.csv", per_class=20, test_per_class=8)
    refused = train(mini_run, run, "--resume", "--data", other)
    assert_refused(refused, 2, str(run), "other data", "rows_sha256", "--allow-other-data")
    done = train(mini_run, run, "--resume", "--data", other, "--allow-other-data")
    assert done.returncode == 0, done.stderr
    sets = json.loads((run / "run.json").read_text())["datasets"]
    assert [each["from_epoch"] for each in sets] == [1, 4]
    assert sets[0]["rows_sha256"] != sets[1]["rows_sha256"]
    assert "datasets" not in json.loads((mini_run.run / "run.json").read_text())


@pytest.mark.slow
def test_a_second_writer_is_refused(mini_run: MiniRun, tmp_path: Path) -> None:
    run = unfinished(mini_run, tmp_path / "run")
    lock = FileLock(run / "run.lock")
    assert lock.take()
    try:
        assert_refused(train(mini_run, run, "--resume"), 2, str(run), "another process is training")
    finally:
        lock.release()
    assert train(mini_run, run, "--resume").returncode == 0


@pytest.mark.slow
def test_a_loss_that_is_not_finite_ends_the_run(mini_run: MiniRun, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(ONE_SIZE.replace("learning_rate = 0.01", "learning_rate = 1e38"))
    done = fork.fer_edge("train", "--config", recipe, "--out", tmp_path / "run", data=mini_run.data)
    assert_refused(done, 1, "epoch 1, step ", "not finite", "loop.learning_rate")
    for name in ("best.keras", "checkpoint.keras", "model.keras", "run.json"):
        assert not (tmp_path / "run" / name).exists()
    assert (tmp_path / "run/history.jsonl").read_text() == ""


@pytest.mark.slow
def test_the_audit_takes_data_and_escapes_names(tmp_path: Path) -> None:
    data = write_mini_fer2013(tmp_path / "fer2013.csv", per_class=4, test_per_class=2, side=12)
    done = fork.fer_edge("data", "audit", "--data", data, "--list", tmp_path / "a\x1b[2J\n.csv")
    assert done.returncode == 0, done.stderr
    assert "\x1b" not in done.stdout
    assert "a\\x1b[2J\\n.csv" in done.stdout
    assert_refused(fork.fer_edge("data", "audit", data, "--data", data), 2, "--data", "one of them")
