"""``fer-edge train --tune`` as processes: two commands on one study, one of them killed, and the results.

On JAX, which starts fastest; ``test_tune_long.py`` searches on TensorFlow.
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import msgspec
import pytest

from fer_edge.commands.cli import main
from fer_train.recipe.recipe import load_recipe
from fer_train.training.run_folder.files import STUDY
from fer_train.tuning.settings import load_search
from fer_train.tuning.storage import StudyLocation, open_study
from support.data.image_sets import write_image_set
from support.processes.waiting import wait_for
from support.training.mini_run import assert_refused
from support.training.parallel import RECIPE, ended, environment_of, start, write_training

TRIALS = 3
JAX = {"KERAS_BACKEND": "jax"}
TUNE = f"""
[tune]
trials = {TRIALS}
startup_trials = 1
keep = 1
[tune.ranges]
"loop.learning_rate" = {{ low = 1e-3, high = 1e-1, log = true }}
"loop.batch_size" = {{ choices = [32, 56] }}
"""


def here(words: list[str], capsys: pytest.CaptureFixture[str]) -> subprocess.CompletedProcess[str]:
    """Run a command in this process, for tests that need no backend."""
    return subprocess.CompletedProcess(words, main(words), *capsys.readouterr())


def lines_of(run: Path) -> list[dict[str, Any]]:
    path = run / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Recipe and folder of a finished search, and its command's output; another command was killed during it."""
    folder = tmp_path_factory.mktemp("tune")
    write_training(folder)
    recipe, out = folder / "tune.toml", folder / "out"
    recipe.write_text(RECIPE.replace("epochs = 3", "epochs = 2") + TUNE)
    command = [sys.executable, "-m", "fer_edge", "train", "--tune", "--config", str(recipe), "--out", str(out)]
    killed = subprocess.Popen(
        command, cwd=folder, env={**environment_of(folder), **JAX}, start_new_session=True, stderr=subprocess.PIPE
    )
    wait_for((out / STUDY).exists, within_s=300)
    joined = start(folder, *command[4:], environment=JAX)
    wait_for(lambda: any(lines_of(run) for run in out.glob("trials/*")), within_s=300)
    os.killpg(killed.pid, signal.SIGKILL)  # the command and its worker together
    killed.communicate()
    done = ended(joined)
    assert done.returncode == 0, done.stderr
    return recipe, out, done.stdout


@pytest.mark.slow
def test_no_trial_is_lost_or_done_twice_when_a_command_is_killed(searched: tuple[Path, Path, str]) -> None:
    _, out, printed = searched
    with (out / "tune.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in rows] == list(range(1, TRIALS + 1))
    assert {row["state"] for row in rows} <= {"done", "pruned"}
    attempts = open_study(StudyLocation(out)).get_trials()
    assert not [attempt for attempt in attempts if attempt.state.name in ("RUNNING", "WAITING")]
    for row in rows:
        run = out / "trials" / f"{int(row['trial']):04}"
        epochs = [line["epoch"] for line in lines_of(run)]
        assert epochs == list(range(1, int(row["epochs"]) + 1))  # those before the kill were not repeated
        trained = load_recipe(run / "config.toml")
        assert trained.loop.learning_rate == pytest.approx(float(row["loop.learning_rate"]))
        assert trained.loop.batch_size == int(row["loop.batch_size"])
    assert (float(rows[0]["loop.learning_rate"]), rows[0]["loop.batch_size"]) == (0.05, "32")  # the recipe's own
    assert "the unchanged recipe: trial 1" in printed
    assert f"{TRIALS} trials: " in printed
    assert printed.splitlines()[-1] == str(out / "best.toml")


@pytest.mark.slow
def test_the_best_is_what_its_run_reached_and_it_alone_keeps_its_networks(searched: tuple[Path, Path, str]) -> None:
    _, out, printed = searched
    with (out / "tune.csv").open() as stream:
        done = [row for row in csv.DictReader(stream) if row["state"] == "done"]
    best = max(done, key=lambda row: (float(row["accuracy"]), -int(row["trial"])))
    run = out / "trials" / f"{int(best['trial']):04}"
    assert float(best["accuracy"]) == max(line["val_accuracy"] for line in lines_of(run))
    assert f"best: trial {best['trial']}, accuracy {float(best['accuracy']):.4f} on PublicTest" in printed
    assert [path.parent for path in out.glob("trials/*/model.keras")] == [run]
    assert cv2.imread(str(out / "tune.png")).shape[0] > 500
    assert f"| {best['trial']} | done |" in (out / "tune.md").read_text()


def test_the_best_recipe_is_what_the_best_trial_trained(searched: tuple[Path, Path, str]) -> None:
    recipe, out, _ = searched
    [kept] = [path.parent for path in out.glob("trials/*/model.keras")]
    best = load_recipe(out / "best.toml")
    assert best.name == "tiny-tuned"
    assert msgspec.structs.replace(best, name=f"tiny-{kept.name}") == load_recipe(kept / "config.toml")
    assert load_search(recipe).best_recipe({}).loop == load_recipe(recipe).loop


@pytest.mark.slow
def test_a_finished_search_is_told_again_and_no_other_one_goes_on_in_its_folder(
    searched: tuple[Path, Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    recipe, out, printed = searched
    monkeypatch.setenv("FER_EDGE_DATA", str(recipe.parent / "fer2013.csv"))
    before = (out / "tune.csv").read_bytes()
    words = ["train", "--out", str(out), "--config"]
    assert_refused(here([*words, str(recipe)], capsys), 2, str(out), "holds a search, not a run")
    assert_refused(here([*words, str(recipe), "--tune"], capsys), 2, str(out), "--resume")
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace("high = 1e-1", "high = 1.0"))
    refused = here([*words, str(other), "--tune", "--resume"], capsys)
    assert_refused(refused, 2, "study.db", "tune.ranges.loop.learning_rate.high is 1.0 here, 0.1 there")
    assert (out / "tune.csv").read_bytes() == before
    again = here([*words, str(recipe), "--tune", "--resume"], capsys)
    assert (again.returncode, again.stdout) == (0, printed)


@pytest.mark.parametrize(
    ("classes", "ranges", "words"),
    [
        ({"angry": "angry"}, "", ["one class, angry"]),
        ({"angry": "angry", "happy": "happy"}, '"targets.crowd" = { low = 0.0, high = 0.5 }', ["FER+ votes"]),
        ({}, "", ["holds no class folders"]),
    ],
)
def test_data_that_trials_could_not_learn_are_refused_before_a_study_is_made(
    classes: dict[str, str], ranges: str, words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    faces = tmp_path / "faces"
    faces.mkdir()
    write_image_set(faces, classes, count=24)
    recipe = tmp_path / "tune.toml"
    recipe.write_text(f'[[data.sets]]\npath = "{faces}"\n{TUNE}{ranges}\n')
    command = ["train", "--tune", "--config", str(recipe), "--out", str(tmp_path / "out")]
    assert_refused(here(command, capsys), 2, *words)
    assert not (tmp_path / "out").exists()
