"""Searches that are interrupted in every way, compared with an uninterrupted one; `make test-tune` runs them."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fer_train.tuning.storage import StudyLocation, open_study
from fer_train.tuning.supervisor import threads_of
from support.data.image_sets import CLASSES, FOLDERS, THREE, recipe_text, write_image_set
from support.processes.waiting import wait_for
from support.training.mini_run import assert_refused, environment_with, fer_edge

pytestmark = pytest.mark.skipif("TUNE_LONG" not in os.environ, reason="takes minutes: make test-tune")

RECIPE = """
[model]
widths = [16]
blocks = [1]
[augment]
erase_probability = 0.0
[loop]
epochs = 3
batch_size = 16
warmup_epochs = 0
sizes = [16]
[tune]
trials = 4
startup_trials = 1
grace_epochs = 1
metric = "cross_entropy"
[tune.ranges]
"""
RATES = '"loop.learning_rate" = { low = 1e-8, high = 3e-3, log = true }\n'


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tune")
    faces = write_image_set(folder / "faces", FOLDERS, count=24)
    data = recipe_text(faces, THREE, CLASSES).replace("[data]\n", "[data]\nsize = 16\n")
    (folder / "tune.toml").write_text(f'name = "long"\n{data}{RECIPE}{RATES}')
    return folder / "tune.toml"


def start(recipe: Path, out: Path, *more: str, largest_file_kib: int | None = None) -> subprocess.Popen[str]:
    words = [sys.executable, "-m", "fer_edge", "train", "--tune", "--config", str(recipe), "--out", str(out), *more]
    if largest_file_kib is not None:
        words = ["bash", "-c", f'ulimit -f {largest_file_kib} && exec "$@"', "bash", *words]
    return subprocess.Popen(
        words, env=environment_with(None), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finished(process: subprocess.Popen[str]) -> str:
    printed, said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    return printed


def rows(out: Path) -> list[dict[str, str]]:
    with (out / "tune.csv").open() as stream:
        return [{key: cell for key, cell in row.items() if key != "minutes"} for row in csv.DictReader(stream)]


def assert_same(ours: list[dict[str, str]], theirs: list[dict[str, str]]) -> None:
    """But for the last bits of parallel sums."""
    for one, other in zip(ours, theirs, strict=True):
        values, others = float(one.pop("cross_entropy")), float(other.pop("cross_entropy"))
        assert values == pytest.approx(others, rel=0.02)
        rate, other_rate = float(one.pop("loop.learning_rate")), float(other.pop("loop.learning_rate"))
        assert rate == pytest.approx(other_rate, rel=0.02)
        assert one == other


def workers_of(process: subprocess.Popen[str]) -> list[int]:
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    return [int(word) for word in children.read_text().split()] if children.exists() else []


@pytest.fixture(scope="module")
def straight(recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("straight") / "out"
    finished(start(recipe, out))
    return out


def test_a_search_repeats_by_its_seed_and_prunes(recipe: Path, straight: Path, tmp_path: Path) -> None:
    finished(start(recipe, tmp_path / "out"))
    assert_same(rows(tmp_path / "out"), rows(straight))
    states = [row["state"] for row in rows(straight)]
    assert "pruned" in states and set(states) <= {"done", "pruned"}
    pruned = next(row for row in rows(straight) if row["state"] == "pruned")
    assert int(pruned["epochs"]) < 3


def test_the_best_recipe_trains_unchanged_and_gives_what_the_trial_gave(straight: Path, tmp_path: Path) -> None:
    done = fer_edge("train", "--config", straight / "best.toml", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    best = min((row for row in rows(straight) if row["state"] == "done"), key=lambda row: float(row["cross_entropy"]))
    lines = [json.loads(line) for line in (tmp_path / "run/history.jsonl").read_text().splitlines()]
    # Except for the last bits of parallel sums; other trials ran before it in its process.
    assert min(line["val_loss"] for line in lines) == pytest.approx(float(best["cross_entropy"]), rel=0.02)


def test_a_search_that_nobody_listens_to_goes_on(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "loud.py").write_text(
        "import keras\n"
        "def build(height, width, labels):\n"
        "    print('word\\n' * 100_000, flush=True)  # more than a pipe holds\n"
        "    pixels = keras.Input((height, width, 1))\n"
        "    return keras.Model(pixels, keras.layers.Dense(labels)(keras.layers.Flatten()(pixels)))\n"
    )
    loud = tmp_path / "tune.toml"
    loud.write_text(recipe.read_text().replace("widths = [16]\nblocks = [1]\n", 'architecture = "loud:build"\n'))
    command = [sys.executable, "-m", "fer_edge", "train", "--tune", "--config", str(loud), "--out", "out"]
    process = subprocess.Popen(
        command, env=environment_with(None), cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None and process.stderr is not None
    process.stderr.close()
    printed = process.stdout.read()
    assert process.wait(600) == 0
    assert printed.startswith("4 trials: ")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stopped_search_goes_on_as_if_it_had_not_been(
    number: signal.Signals, recipe: Path, straight: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    process = start(recipe, out)
    wait_for((out / "trials" / "0002" / "history.jsonl").exists, within_s=600)
    [worker] = workers_of(process)
    process.send_signal(number)
    _, said = process.communicate(timeout=300)
    assert process.returncode == (130 if number == signal.SIGINT else 143), said
    assert f"of 4 trials are done; continue with --resume --out {out}" in said.splitlines()[-1]
    assert "Traceback" not in said
    assert not Path(f"/proc/{worker}").exists()
    assert "RUNNING" not in [attempt.state.name for attempt in open_study(StudyLocation(out)).get_trials()]
    finished(start(recipe, out, "--resume"))
    assert_same(rows(out), rows(straight))


def test_a_killed_worker_is_replaced_and_its_trial_goes_on(recipe: Path, straight: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(recipe, out)
    wait_for((out / "trials" / "0001" / "history.jsonl").exists, within_s=600)
    [worker] = workers_of(process)
    os.kill(worker, signal.SIGKILL)
    _, said = process.communicate(timeout=900)
    assert process.returncode == 0, said
    assert "a worker ended by signal 9; another one continues its trial" in " ".join(
        said.replace(" (out of memory?)", "").split()
    )
    assert_same(rows(out), rows(straight))


def test_workers_of_a_killed_command_end_too(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = start(recipe, out, "--workers", "2")
    wait_for(lambda: list(out.glob("trials/*/history.jsonl")), within_s=600)
    workers = workers_of(process)
    assert len(workers) == 2
    process.kill()
    process.communicate()
    wait_for(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers), within_s=120)
    printed = finished(start(recipe, out, "--resume", "--workers", "2"))
    assert printed.startswith("4 trials: ")
    assert [row["trial"] for row in rows(out)] == ["1", "2", "3", "4"]


def test_trials_that_diverge_or_fail_do_not_end_the_search(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text(
        "def build(height, width, labels):\n    raise RuntimeError('no such network')\n"
    )
    other = tmp_path / "tune.toml"
    text = recipe.read_text().replace(RATES, '"loop.learning_rate" = { choices = [2e-3, 1e38] }\n')
    other.write_text(text.replace("trials = 4", "trials = 6"))
    printed = finished(start(other, tmp_path / "out"))
    assert "diverged" in printed
    assert {row["state"] for row in rows(tmp_path / "out") if row["loop.learning_rate"] == "1e+38"} == {"diverged"}
    broken = tmp_path / "broken.toml"
    keep = text.replace("[model]\nwidths = [16]\nblocks = [1]\n", '[model]\narchitecture = "broken:build"\n')
    broken.write_text(keep)
    process = subprocess.run(
        [sys.executable, "-m", "fer_edge", "train", "--tune", "--config", broken, "--out", tmp_path / "none"],
        env=environment_with(None),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert_refused(process, 1, "no trial was completed")
    assert "no such network" in process.stdout
    assert "Traceback" not in process.stderr
    assert not (tmp_path / "none" / "best.toml").exists()


def test_a_disk_that_is_full_stops_the_search_in_one_line_and_loses_nothing(recipe: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    large = tmp_path / "large.toml"
    large.write_text(recipe.read_text().replace("widths = [16]", "widths = [96]"))
    # Space for a study and settings, but not for that network.
    process = start(large, out, largest_file_kib=500)
    _, said = process.communicate(timeout=600)
    complaints = [line for line in said.splitlines() if line.startswith("fer-edge: ")]
    assert process.returncode == 6, said
    assert len(complaints) == 1 and ".keras" in complaints[0]
    assert "Traceback" not in said
    printed = finished(start(large, out, "--resume"))
    assert printed.startswith("4 trials: ")


def test_several_workers_share_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in threads_of(2):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "5")
    assert threads_of(1) == {}
    cores = len(os.sched_getaffinity(0))
    for workers in (2, 64):
        shares = threads_of(workers)
        assert "OMP_NUM_THREADS" not in shares  # the user's settings have precedence
        assert {"TF_NUM_INTRAOP_THREADS", "NPROC"} <= set(shares)  # the variables of TensorFlow and JAX
        assert {int(share) for share in shares.values()} == {max(1, cores // workers)}
