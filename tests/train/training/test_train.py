"""``fer-edge train`` as a process: the files of a run, stopping and resuming it, and bad input."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from datetime import datetime, timedelta
from pathlib import Path

import cv2
import pytest

from fer_train.recipe.recipe import load_recipe
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge


def history(run: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]


def without_time(lines: list[dict[str, float]]) -> list[dict[str, float]]:
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


def test_a_run_learns_and_holds_what_it_says(mini_run: MiniRun) -> None:
    lines = history(mini_run.run)
    assert [line["size"] for line in lines] == [32, 32, 48]
    # The miniature's classes are simple gratings: even three epochs get well above the chance of 1/7.
    assert max(line["val_accuracy"] for line in lines) > 0.3
    summary = json.loads((mini_run.run / "run.json").read_text())
    assert summary["public_test_accuracy"] == max(line["val_accuracy"] for line in lines)
    assert summary["dataset"]["training_images"] == 7 * 24  # the three leaked rows were left out
    assert 1_000 < summary["params"] < 50_000 < summary["macs"]
    started = datetime.fromisoformat(summary["started_at"])
    assert started.utcoffset() == timedelta(0)
    assert 0 <= (mini_run.run / "checkpoint.keras").stat().st_mtime - started.timestamp() < 3600
    assert load_recipe(mini_run.run / "config.toml") == load_recipe(mini_run.recipe)
    assert cv2.imread(str(mini_run.run / "curves.png")).shape[1] > 500


def test_a_stopped_run_goes_on_where_it_was(mini_run: MiniRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    command = [sys.executable, "-m", "fer_edge", "train", "--config", str(mini_run.recipe), "--out", str(run)]
    environment = {**os.environ, "FER_EDGE_DATA": str(mini_run.data)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 300
    while not (run / "history.jsonl").exists() or not history(run):  # it begins empty
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    done = len(history(run))
    if done < 3:  # on a very fast machine the run may end before the signal arrives
        assert process.returncode == 130, said
        assert "--resume" in said
        assert "Traceback" not in said
        assert not (run / "model.keras").exists()
    assert not [path for path in run.iterdir() if path.suffix == ".tmp" or ".tmp." in path.name]
    resumed = fork.fer_edge("train", "--config", mini_run.recipe, "--out", run, "--resume", data=mini_run.data)
    assert resumed.returncode == 0, resumed.stderr
    # The same epochs as an uninterrupted run, except for the last bits of parallel sums.
    for ours, theirs in zip(without_time(history(run)), without_time(history(mini_run.run)), strict=True):
        assert ours == pytest.approx(theirs, rel=0.05, abs=0.03)
    assert (run / "model.keras").is_file()


def test_a_run_is_not_overwritten_and_no_other_recipe_resumes_it(mini_run: MiniRun, tmp_path: Path) -> None:
    again = fer_edge("train", "--config", mini_run.recipe, "--out", mini_run.run, data=mini_run.data)
    assert_refused(again, 2, str(mini_run.run), "--resume")
    other = tmp_path / "other.toml"
    other.write_text(RECIPE.replace("epochs = 3", "epochs = 4"))
    assert_refused(
        fer_edge("train", "--config", other, "--out", mini_run.run, "--resume", data=mini_run.data),
        2,
        "another recipe",
    )


def test_a_damaged_checkpoint_is_refused(mini_run: MiniRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(mini_run.run, run)
    checkpoint = run / "checkpoint.keras"
    checkpoint.write_bytes(checkpoint.read_bytes()[:1000])
    lines = (run / "history.jsonl").read_text().splitlines(keepends=True)
    (run / "history.jsonl").write_text("".join(lines[:-1]))
    refused = fork.fer_edge("train", "--config", mini_run.recipe, "--out", run, "--resume", data=mini_run.data)
    assert_refused(refused, 4, "checkpoint.keras")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["default"]),
        ("[loop]\nepoch = 3\n", ["loop.epoch", "epochs"]),
        ('[loop]\nepochs = "3"\n', ["loop.epochs", "whole number"]),
        ("[loop]\nepochs = true\n", ["loop.epochs"]),
        ("[model]\nstem_width = 8\n", ["model", "multiple of 16"]),
        ('[loop]\noptimizer = "adam"\n', ["loop.optimizer", "adamw", "sgd"]),
        ("[model]\nwidths = [8]\n", ["model", "equally long"]),
        ("[loop]\nsizes = [32, 48]\n", ["size_changes"]),
        ("name = ", ["TOML"]),
        ("\x00\xff", ["TOML"]),
    ],
)
def test_a_wrong_recipe_is_refused_by_its_key(text: str, words: list[str], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(text, encoding="latin-1")
    if words == ["default"]:
        assert load_recipe(recipe).loop.epochs >= 1  # every key has a default
        return
    if text.startswith("\x00"):
        words = ["UTF-8"]
    assert_refused(fer_edge("train", "--config", recipe, "--out", tmp_path / "run"), 2, str(recipe), *words)
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_missing_things_are_named(mini_run: MiniRun, tmp_path: Path) -> None:
    assert_refused(fer_edge("train", "--config", tmp_path / "no.toml"), 2, "no.toml")
    assert_refused(fer_edge("train", "--config", tmp_path), 2, str(tmp_path))
    no_data = fer_edge("train", "--config", mini_run.recipe, "--data", tmp_path / "no.csv", "--out", tmp_path / "run")
    assert_refused(no_data, 2, "no.csv")
    nothing = fer_edge("train", "--config", mini_run.recipe, "--out", tmp_path / "new", "--resume", data=mini_run.data)
    assert_refused(nothing, 2, "nothing to resume")
    blocked = tmp_path / "file"
    blocked.write_text("")
    refused = fer_edge("train", "--config", mini_run.recipe, "--out", blocked / "run", data=mini_run.data)
    assert_refused(refused, 6, str(blocked))


def test_a_run_that_lost_its_checkpoint_is_not_begun_anew(mini_run: MiniRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(mini_run.run, run)
    (run / "checkpoint.keras").unlink()
    before = (run / "history.jsonl").read_bytes()
    refused = fer_edge("train", "--config", mini_run.recipe, "--out", run, "--resume", data=mini_run.data)
    assert_refused(refused, 2, str(run), "checkpoint.keras", "--from")
    assert (run / "history.jsonl").read_bytes() == before
