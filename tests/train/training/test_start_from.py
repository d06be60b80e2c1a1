"""``fer-edge train --from``: a longer run that starts from a shorter one's state before its rate fell."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import ConfigError, FerEdgeError, InputError
from fer_edge.settings.base import decode, to_table
from fer_edge.settings.toml_files import dump_toml
from fer_train.recipe.recipe import Recipe
from fer_train.training.run_folder.files import BEST, CHECKPOINT, CONFIG, HELD, HISTORY
from fer_train.training.run_folder.folder import open_run
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge

HELD_RECIPE = RECIPE.replace("size_changes = [2]", "size_changes = [-1]\ncooldown_epochs = 1")
"""Three epochs: two at full rate and 32 pixels, one that cools down at 48."""
LONGER_RECIPE = HELD_RECIPE.replace("epochs = 3", "epochs = 4").replace('"mini"', '"longer"')


def lines_of(run: Path) -> list[dict[str, Any]]:
    """Return the epochs of a run without their times, which differ between equal runs."""
    lines = [json.loads(line) for line in (run / HISTORY).read_text().splitlines()]
    return [{key: value for key, value in line.items() if key != "seconds"} for line in lines]


@pytest.fixture(scope="module")
def short_run(mini_run: MiniRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ``HELD_RECIPE``. Shared: copy it before changing it."""
    return trained(HELD_RECIPE, tmp_path_factory.mktemp("short"), mini_run)


@pytest.fixture(scope="module")
def long_run(mini_run: MiniRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ``LONGER_RECIPE``, trained from scratch."""
    return trained(LONGER_RECIPE, tmp_path_factory.mktemp("long"), mini_run)


@pytest.fixture(scope="module")
def continued_run(mini_run: MiniRun, short_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of ``LONGER_RECIPE`` that started from ``short_run``, which is unchanged."""
    before = (short_run / HISTORY).read_bytes()
    run = trained(LONGER_RECIPE, tmp_path_factory.mktemp("continued"), mini_run, "--from", short_run)
    assert (short_run / HISTORY).read_bytes() == before
    return run


def trained(text: str, folder: Path, road: MiniRun, *options: str | Path) -> Path:
    recipe = folder / "recipe.toml"
    recipe.write_text(text)
    done = fork.fer_edge("train", "--config", recipe, "--out", folder / "run", *options, data=road.data)
    assert done.returncode == 0, done.stderr
    return folder / "run"


def assert_ends_as(ours: Path, theirs: Path, shared_epochs: int) -> None:
    """Assert equal histories, except for the last bits of parallel sums and the earlier best epochs.

    Only the last epoch of the shared part is kept, so it counts as the best of them.
    """
    for mine, other in zip(lines_of(ours), lines_of(theirs), strict=True):
        del mine["best"], other["best"]
        assert mine == pytest.approx(other, rel=0.05, abs=0.03)
    assert [line["best"] for line in lines_of(ours)[:shared_epochs]] == [False] * (shared_epochs - 1) + [True]


@pytest.mark.slow
def test_a_longer_run_ends_as_if_trained_from_scratch(short_run: Path, long_run: Path, continued_run: Path) -> None:
    assert (short_run / HELD).is_file()
    assert [line["size"] for line in lines_of(continued_run)] == [32, 32, 32, 48]
    assert_ends_as(continued_run, long_run, 2)
    # Taken over, not trained again.
    assert lines_of(continued_run)[0] == {**lines_of(short_run)[0], "best": False}
    # It kept the state before its cooldown, so that an even longer run can start from it.
    assert (continued_run / HELD).is_file()


@pytest.mark.slow
def test_a_run_stopped_while_its_rate_was_held_is_continued(mini_run: MiniRun, long_run: Path, tmp_path: Path) -> None:
    recipe, stopped = tmp_path / "stopped.toml", tmp_path / "stopped"
    recipe.write_text(LONGER_RECIPE.replace('"longer"', '"stopped"'))
    command = [sys.executable, "-m", "fer_edge", "train", "--config", str(recipe), "--out", str(stopped)]
    environment = {**os.environ, "FER_EDGE_DATA": str(mini_run.data)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 300
    while not (stopped / HISTORY).exists() or not (stopped / HISTORY).read_text():  # it begins empty
        assert time.monotonic() < deadline
        time.sleep(0.02)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=120)
    shared = min(len(lines_of(stopped)), 3)
    if shared < 3:  # on a very fast machine it may be further when the signal arrives
        assert not (stopped / HELD).exists()
    run = trained(LONGER_RECIPE, tmp_path, mini_run, "--from", stopped)
    assert_ends_as(run, long_run, shared)


@pytest.mark.slow
def test_the_kept_model_is_the_one_that_the_run_tells_of(
    mini_run: MiniRun, long_run: Path, continued_run: Path
) -> None:
    runs = (long_run, continued_run)
    told = [accuracy for run in runs for accuracy in [best_accuracy(run)] * 2]
    measured = public_test_accuracies([run / name for run in runs for name in ("model.keras", BEST)], mini_run)
    assert measured == pytest.approx(told, abs=1e-6)


def best_accuracy(run: Path) -> float:
    """Check the run's best epochs: each is better than all earlier ones since the last shared epoch."""
    lines, best = lines_of(run), 0.0
    for line in lines[next(i for i, line in enumerate(lines) if line["best"]) :]:
        assert line["best"] == (line["val_accuracy"] > best)
        best = max(best, line["val_accuracy"])
    summary = json.loads((run / "run.json").read_text())
    assert summary["public_test_accuracy"] == best
    assert lines[summary["best_epoch"] - 1]["val_accuracy"] == best
    return best


def public_test_accuracies(models: list[Path], road: MiniRun) -> list[float]:
    """Return top-1 on the miniature's PublicTest, measured by a new process that only loads the files."""
    code = """
import sys, numpy as np
from pathlib import Path
from fer_train.backend import load_keras
keras = load_keras()
from fer_train.data.dataset import load_dataset
split = load_dataset(Path(sys.argv[1])).splits["PublicTest"]
for model in sys.argv[2:]:
    logits = keras.models.load_model(model, compile=False).predict(split.images[..., None] * 1.0, verbose=0)
    print((logits.argmax(axis=1) == split.labels).mean())
"""
    command = [sys.executable, "-c", code, str(road.data), *map(str, models)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=300)
    return [float(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_from_through_the_command_is_refused_in_one_line(
    mini_run: MiniRun, short_run: Path, long_run: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(LONGER_RECIPE)
    out = tmp_path / "run"

    def start(*options: str | Path) -> subprocess.CompletedProcess[str]:
        return fer_edge("train", "--config", recipe, *options, data=mini_run.data)

    assert_refused(start("--out", out, "--from", short_run, "--resume"), 2, "--from", "--resume", "not allowed")
    assert_refused(start("--out", out, "--from", tmp_path), 2, str(tmp_path), "no run to start from")
    assert_refused(start("--out", long_run, "--from", short_run), 2, str(long_run), "already contains a run")
    assert_refused(start("--out", out, "--from", mini_run.run), 2, str(mini_run.run), "cooldown_epochs is 0")
    recipe.write_text(LONGER_RECIPE.replace("learning_rate = 0.01", "learning_rate = 0.02"))
    assert_refused(start("--out", out, "--from", short_run), 2, str(short_run), "2 epochs", "not trained as this")
    assert not out.exists()


# The following tests call open_run itself, which needs no Keras, only a run's folder.

BASE: dict[str, Any] = {"epochs": 10, "cooldown_epochs": 4, "sizes": [32, 48], "size_changes": [-3]}


def recipe_of(loop: dict[str, Any], **others: Any) -> Recipe:
    return decode(Recipe, {**others, "loop": {**BASE, **loop}}, "test")


def write_stand_in(path: Path, text: str) -> None:
    """Write a file with the members of a Keras model, identified by ``text``."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("config.json", "model.weights.h5"):
            archive.writestr(name, text)


def said(path: Path) -> str:
    with zipfile.ZipFile(path) as archive:
        return archive.read("config.json").decode()


def run_of(folder: Path, recipe: Recipe, epochs: int) -> Path:
    """Create the folder of a run after ``epochs`` epochs; its checkpoints are identified by their text."""
    folder.mkdir()
    (folder / CONFIG).write_text(dump_toml(to_table(recipe)))
    lines = ({"epoch": i + 1, "val_accuracy": (i * 7 % 10) / 10, "best": i == 0} for i in range(epochs))
    (folder / HISTORY).write_text("".join(json.dumps(line) + "\n" for line in lines))
    if epochs:
        write_stand_in(folder / CHECKPOINT, f"after {epochs}")
    if recipe.loop.cooldown_epochs and epochs >= recipe.loop.held_epochs:
        write_stand_in(folder / HELD, f"after {recipe.loop.held_epochs}")
    return folder


@pytest.mark.parametrize("epochs", range(1, 11))
def test_it_starts_at_the_last_epoch_of_full_rate(epochs: int, tmp_path: Path) -> None:
    short = run_of(tmp_path / "short", recipe_of({}), epochs)
    progress = open_run(recipe_of({"epochs": 20}, name="other"), tmp_path / "run", start=short)
    assert progress.epoch == min(epochs, 6)
    assert said(tmp_path / "run" / CHECKPOINT) == said(tmp_path / "run/best.keras")
    assert said(tmp_path / "run" / CHECKPOINT) == f"after {progress.epoch}"
    assert progress.best == progress.history[-1]
    assert open_run(recipe_of({"epochs": 20}, name="other"), tmp_path / "run", resume=True) == progress


def test_a_run_that_starts_at_the_end_of_its_own_hold_can_be_started_from(tmp_path: Path) -> None:
    short = run_of(tmp_path / "short", recipe_of({}), 10)
    quicker = recipe_of({"epochs": 9, "cooldown_epochs": 3})
    open_run(quicker, tmp_path / "run", start=short)
    assert said(tmp_path / "run" / HELD) == "after 6"
    # It has continued since then, and so has its checkpoint.
    shutil.copy(short / HISTORY, tmp_path / "run" / HISTORY)
    write_stand_in(tmp_path / "run" / CHECKPOINT, "after 9")
    assert open_run(recipe_of({"epochs": 20}), tmp_path / "again", start=tmp_path / "run").epoch == 6
    assert said(tmp_path / "again" / CHECKPOINT) == "after 6"


@pytest.mark.parametrize(
    "recipe",
    [
        recipe_of({"epochs": 20}, name="another name"),
        recipe_of({"epochs": 20, "cooldown_epochs": 12}),
        recipe_of({"epochs": 20, "size_changes": [6]}),
        recipe_of({"epochs": 20, "sizes": [32, 40, 44, 48], "size_changes": [7, 8, -1]}),
        recipe_of({"epochs": 20, "sizes": [32], "size_changes": []}),
        recipe_of({"epochs": 20}, targets={"teacher": 0.5, "teacher_labels": "t.npz", "teacher_from": 6}),
        recipe_of({"epochs": 20, "precision": "bfloat16", "precision_from": 6}),
        recipe_of({}),
    ],
)
def test_what_follows_may_differ(recipe: Recipe, tmp_path: Path) -> None:
    assert open_run(recipe, tmp_path / "run", start=run_of(tmp_path / "short", recipe_of({}), 10)).epoch == 6


def test_a_teacher_may_come_to_a_crowd(tmp_path: Path) -> None:
    crowd = recipe_of({}, targets={"crowd": 0.5})
    taught = {"crowd": 0.3, "teacher": 0.4, "teacher_labels": "t.npz", "teacher_from": 6}
    short = run_of(tmp_path / "short", crowd, 10)
    assert open_run(recipe_of({"epochs": 20}, targets=taught), tmp_path / "run", start=short).epoch == 6


@pytest.mark.parametrize(
    "recipe",
    [
        recipe_of({"epochs": 20}, augment={"flip": 0.4}),
        recipe_of({"epochs": 20}, model={"dropout": 0.1}),
        recipe_of({"epochs": 20}, targets={"crowd": 0.5}),
        recipe_of({"epochs": 20}, targets={"teacher": 0.5, "teacher_labels": "t.npz", "teacher_from": 5}),
        *(
            recipe_of({"epochs": 20, **loop})
            for loop in (
                {"learning_rate": 1e-3},
                {"precision": "bfloat16"},
                {"precision": "bfloat16", "precision_from": 5},
                {"warmup_epochs": 2.0},
                {"warmup_epochs": 0.75},
                {"warmup_epochs": 0.0},
                {"seed": 2},
                {"batch_size": 64},
                {"optimizer": "sgd"},
                {"label_smoothing": 0.0},
                {"size_changes": [5]},
                {"sizes": [40, 48]},
                {"sizes": [32, 40, 32, 48], "size_changes": [2, 3, -1]},
                {"cooldown_epochs": 15},  # its rate falls within the shared epochs
                {"cooldown_epochs": 0},
            )
        ),
        recipe_of({"epochs": 8}),
    ],
)
def test_another_past_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    short = run_of(tmp_path / "short", recipe_of({}), 10)
    with pytest.raises(ConfigError, match="first 6 epochs were not trained as this recipe says"):
        open_run(recipe, tmp_path / "run", start=short)
    assert not (tmp_path / "run").exists()


def test_warm_ups_that_end_within_a_step_of_each_other_are_another_past(tmp_path: Path) -> None:
    short = run_of(tmp_path / "short", recipe_of({"warmup_epochs": 0.3}), 10)
    with pytest.raises(ConfigError, match="not trained as this recipe says"):
        open_run(recipe_of({"epochs": 20, "warmup_epochs": 0.4}), tmp_path / "run", start=short)


def test_a_run_by_cosine_can_be_started_from_until_its_rate_falls(tmp_path: Path) -> None:
    cosine = recipe_of({"cooldown_epochs": 0, "warmup_epochs": 2.0})
    warming = run_of(tmp_path / "warming", cosine, 2)
    assert open_run(recipe_of({"warmup_epochs": 2.0}), tmp_path / "run", start=warming).epoch == 2
    fallen = run_of(tmp_path / "fallen", cosine, 3)
    for recipe in (cosine, recipe_of({"warmup_epochs": 2.0})):
        with pytest.raises(ConfigError, match=r"falling since epoch 3.*cooldown_epochs is 0"):
            open_run(recipe, tmp_path / "other", start=fallen)


def removed(name: str) -> Callable[[Path], None]:
    return lambda run: (run / name).unlink()


def written(name: str, data: bytes) -> Callable[[Path], None]:
    return lambda run: (run / name).write_bytes(data) and None


@pytest.mark.parametrize(
    ("damage", "error", "words"),
    [
        (shutil.rmtree, InputError, "no run to start from"),
        (removed(CONFIG), InputError, CONFIG),
        (removed(HISTORY), InputError, HISTORY),
        (removed(HELD), InputError, HELD),
        (written(HISTORY, b""), InputError, "no whole epoch"),
        (written(HISTORY, b"{}\n"), InputError, HISTORY),
        (written(HISTORY, b"\xff\n"), InputError, HISTORY),
        (written(HISTORY, b"[1, 2]\n"), InputError, HISTORY),
        (written(CONFIG, b"[loop]\nepoch = 1\n"), ConfigError, "loop.epoch"),
    ],
)
def test_a_damaged_run_is_refused(
    damage: Callable[[Path], None], error: type[FerEdgeError], words: str, tmp_path: Path
) -> None:
    short = run_of(tmp_path / "short", recipe_of({}), 10)
    damage(short)
    with pytest.raises(error, match=words) as refused:
        open_run(recipe_of({"epochs": 20}), tmp_path / "run", start=short)
    assert str(short) in str(refused.value)
    assert not (tmp_path / "run").exists()


def test_a_file_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no run to start from"):
        open_run(recipe_of({}), tmp_path / "run", start=Path(__file__))
