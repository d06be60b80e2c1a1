"""``fer-edge train --tune`` as processes: two commands on one study, one of them killed, and what is left to use."""

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
import pytest

from fer_train.config import load_recipe
from fer_train.tune.settings import load_search
from fer_train.tune.study_file import open_study
from fer_train.tune.trials import STUDY
from support import warm
from support.image_sets import CLASSES, FOLDERS, THREE, recipe_text, write_image_set
from support.road import assert_refused, environment_with, fer_edge
from support.waiting import wait_for

TRIALS = 3
NETWORK = """
[model]
stem_width = 16
widths = [16]
blocks = [1]
[augment]
erase_probability = 0.0
[loop]
epochs = 2
batch_size = 16
warmup_epochs = 0
sizes = [16]
"""
TUNE = f"""
[tune]
trials = {TRIALS}
startup_trials = 1
keep = 1
[tune.ranges]
"loop.learning_rate" = {{ low = 1e-3, high = 3e-2, log = true }}
"model.widths" = {{ choices = [[16], [24]] }}
"""


def command(recipe: Path, out: Path, *more: str) -> list[str]:
    return [sys.executable, "-m", "fer_edge", "train", "--tune", "--config", str(recipe), "--out", str(out), *more]


def lines_of(run: Path) -> list[dict[str, Any]]:
    path = run / "history.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def make_recipe(folder: Path) -> Path:
    faces = write_image_set(folder / "faces", FOLDERS, count=24)
    recipe = folder / "tune.toml"
    data = recipe_text(faces, THREE, CLASSES).replace("[data]\n", "[data]\nsize = 16\n")
    recipe.write_text(f'name = "mini"\n{data}{NETWORK}{TUNE}')
    return recipe


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, str]:
    """Recipe and folder of a finished search, and what its command printed; another one was killed on the way."""
    folder = tmp_path_factory.mktemp("tune")
    recipe, out = make_recipe(folder), folder / "out"
    environment = environment_with(None)
    killed = subprocess.Popen(command(recipe, out), env=environment, start_new_session=True, stderr=subprocess.PIPE)
    wait_for((out / STUDY).exists, within_s=300)
    joined = subprocess.Popen(
        command(recipe, out), env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_for(lambda: any(lines_of(run) for run in out.glob("trials/*")), within_s=300)
    os.killpg(killed.pid, signal.SIGKILL)  # the command and its worker, at once
    killed.communicate()
    printed, said = joined.communicate(timeout=300)
    assert joined.returncode == 0, said
    return recipe, out, printed


def test_no_trial_is_lost_or_done_twice_when_a_command_is_killed(searched: tuple[Path, Path, str]) -> None:
    _, out, printed = searched
    with (out / "tune.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [int(row["trial"]) for row in rows] == list(range(1, TRIALS + 1))
    assert {row["state"] for row in rows} <= {"done", "pruned"}
    attempts = open_study(out / STUDY).get_trials()
    assert not [attempt for attempt in attempts if attempt.state.name in ("RUNNING", "WAITING")]
    for row in rows:
        run = out / "trials" / f"{int(row['trial']):04}"
        epochs = [line["epoch"] for line in lines_of(run)]
        assert epochs == list(range(1, int(row["epochs"]) + 1))  # those of before the kill were not repeated
        trained = load_recipe(run / "config.toml")
        assert trained.loop.learning_rate == pytest.approx(float(row["loop.learning_rate"]))
        assert list(trained.model.widths) == json.loads(row["model.widths"])
    assert (float(rows[0]["loop.learning_rate"]), rows[0]["model.widths"]) == (2e-3, "[16]")  # the recipe's own
    assert "the recipe as it is: trial 1" in printed
    assert f"{TRIALS} trials: " in printed
    assert printed.splitlines()[-1] == str(out / "best.toml")


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


def test_the_best_recipe_trains_unchanged_and_gives_what_the_trial_gave(
    searched: tuple[Path, Path, str], tmp_path: Path
) -> None:
    recipe, out, _ = searched
    done = warm.fer_edge("train", "--config", out / "best.toml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    [kept] = [path.parent for path in out.glob("trials/*/model.keras")]
    again = lines_of(tmp_path / "run")
    # But for the last bits of parallel sums; the trial had other trials before it in its process.
    for ours, theirs in zip(again, lines_of(kept), strict=True):
        assert ours["val_loss"] == pytest.approx(theirs["val_loss"], rel=0.05)
    assert load_recipe(out / "best.toml").name == "mini-tuned"
    assert load_search(recipe).best_recipe({}).loop == load_recipe(recipe).loop


def test_a_finished_search_is_told_again_and_no_other_one_goes_on_in_its_folder(
    searched: tuple[Path, Path, str], tmp_path: Path
) -> None:
    recipe, out, printed = searched
    before = (out / "tune.csv").read_bytes()
    assert_refused(fer_edge("train", "--tune", "--config", recipe, "--out", out), 2, str(out), "--resume")
    again = fer_edge("train", "--tune", "--config", recipe, "--out", out, "--resume")
    assert (again.returncode, again.stdout) == (0, printed)
    other = tmp_path / "other.toml"
    other.write_text(recipe.read_text().replace("high = 3e-2", "high = 1e-1"))
    refused = fer_edge("train", "--tune", "--config", other, "--out", out, "--resume")
    assert_refused(refused, 2, "study.db", "tune.ranges.loop.learning_rate.high is 0.1 here, 0.03 there")
    assert (out / "tune.csv").read_bytes() == before


def test_data_that_nothing_can_be_learned_of_are_refused_before_a_study_is_made(tmp_path: Path) -> None:
    faces = write_image_set(tmp_path / "one", {"angry": "angry"}, count=12)
    recipe = tmp_path / "one.toml"
    recipe.write_text(f'[data]\nsize = 16\n[[data.sets]]\npath = "{faces}"\n{NETWORK}{TUNE}')
    refused = fer_edge("train", "--tune", "--config", recipe, "--out", tmp_path / "out")
    assert_refused(refused, 2, "one class, angry")
    assert not (tmp_path / "out").exists()
