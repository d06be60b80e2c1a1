"""``fer-edge bench study`` as a process: its measurements, and its files if it is stopped."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_convert.quantization.calibration import RULES, SEED, usable_rows
from fer_edge.model.bundle import load_bundle
from fer_train.data.dataset import TRAINING, load_dataset
from support.processes import fork
from support.training.mini_run import MiniRun, assert_refused, fer_edge


def read(path: Path) -> dict[str, Any]:
    table: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return table


@pytest.fixture(scope="module")
def studied(mini_run: MiniRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("study")
    done = fer_edge(
        *("bench", "study", mini_run.run, "--per-class", "1", "64", "--seeds", "2", "--rules", "balanced"),
        *("--out", out / "new", "--json", out / "other.json"),
        data=mini_run.data,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, out


@pytest.mark.slow
def test_every_size_and_seed_is_measured(studied: tuple[str, Path]) -> None:
    shown, out = studied
    study = read(out / "new" / "study.json")
    assert study == read(out / "other.json")
    assert (study["model"], study["split"], study["partial"]) == ("mini", "PublicTest", False)
    kinds = {(point["rule"], point["size"], point["seed"]) for point in study["points"]}
    # A class has 24 images, fewer than 64; leaked ones are left out.
    assert kinds == {("balanced", size, seed) for size in (7, 24 * 7) for seed in (SEED, SEED + 1)}
    for found in (study["reference"], *(point["accuracy"] for point in study["points"])):
        assert found["n"] == 56
        assert found["low"] <= found["accuracy"] == found["correct"] / 56 <= found["high"]
    assert all(0 < point["agreement"] <= 1 for point in study["points"])
    picture = cv2.imread(str(out / "new" / "study.png"))
    assert picture is not None and picture.std() > 10
    assert [line.split()[:3] for line in shown.splitlines() if line.startswith("balanced")] == [
        ["balanced", "7", "2"],
        ["balanced", "*168", "2"],
    ]


@pytest.mark.slow
def test_the_choice_of_convert_gives_the_file_of_convert(
    studied: tuple[str, Path], mini_run: MiniRun, tmp_path: Path
) -> None:
    done = fork.fer_edge("convert", mini_run.run, "--out", tmp_path / "mini", data=mini_run.data)
    assert done.returncode == 0, done.stderr
    (shipped,) = [point for point in read(studied[1] / "other.json")["points"] if point["shipped"]]
    (accuracy,) = load_bundle(tmp_path / "mini").manifest.variants["int8"].accuracy.values()
    assert shipped["accuracy"]["accuracy"] == pytest.approx(accuracy, abs=1e-6)


def test_the_rules_choose_as_many_and_what_they_say(mini_run: MiniRun) -> None:
    dataset = load_dataset(mini_run.data, cache=False)
    rows = usable_rows(dataset)
    split = dataset.splits[TRAINING]
    for name, choose in RULES.items():
        chosen = choose(dataset, rows, 4, 1)
        assert len(set(chosen)) == 28 and set(chosen) <= set(rows), name
        np.testing.assert_array_equal(chosen, choose(dataset, rows, 4, 1))
        assert set(chosen) != set(choose(dataset, rows, 4, 2)), name
        assert len(choose(dataset, rows, 1000, 1)) == len(rows)
    assert np.bincount(split.labels[RULES["balanced"](dataset, rows, 4, 1)]).tolist() == [4] * 7
    # It has the same quartiles of brightness as all images.
    brightness = split.images.mean(axis=(1, 2))
    np.testing.assert_allclose(
        np.percentile(brightness[RULES["brightness"](dataset, rows, 8, 1)], (25, 50, 75)),
        np.percentile(brightness[rows], (25, 50, 75)),
        atol=2.5,
    )


@pytest.mark.slow
def test_ctrl_c_leaves_what_was_measured(mini_run: MiniRun, tmp_path: Path) -> None:
    words = ["bench", "study", str(mini_run.run), "--seeds", "500", "--per-class", "1", "--out", "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "fer_edge", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "FER_EDGE_DATA": str(mini_run.data)},
    )
    deadline = time.monotonic() + 300
    found = tmp_path / "out" / "study.json"
    while not (found.exists() and len(read(found)["points"]) > 1) and time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    shown, said = process.communicate(timeout=120)
    assert process.returncode == 130, said
    assert said == "fer-edge: interrupted\n"
    study = read(found)
    assert study["partial"] is True
    assert 2 <= len(study["points"]) < 1000
    assert "stopped" in shown
    assert (tmp_path / "out" / "study.png").stat().st_size > 1000


@pytest.mark.slow
def test_bad_input_is_one_line(mini_run: MiniRun, tmp_path: Path) -> None:
    def refused(code: int, *words: str, told: str, command: str = "study", model: Path = mini_run.run) -> None:
        done = fer_edge("bench", command, model, *words, data=mini_run.data, cwd=tmp_path)
        assert done.stdout == ""
        assert_refused(done, code, told)

    empty = tmp_path / "empty.keras"
    empty.touch()
    for command in ("study", "layers"):
        refused(2, command=command, model=tmp_path / "none.keras", told="none.keras")
        refused(4, command=command, model=empty, told="empty.keras")
        refused(2, command=command, model=tmp_path, told="model.keras")
        refused(2, "--images", "0", command=command, told="above 0")
        refused(6, "--json", "no/such/folder.json", command=command, told="folder.json")
        refused(6, "--out", str(empty), command=command, told="empty.keras")
    refused(2, "--rules", "best", told="balanced")
    refused(2, "--per-class", "many", told="above 0")
    refused(2, "--data", "none.csv", told="none.csv")
