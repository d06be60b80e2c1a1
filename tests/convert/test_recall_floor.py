"""Offsets that give rare classes their recall: as arithmetic, and through the real command."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_convert.recall_floor import fit_offsets
from fer_edge.errors import InputError
from support.processes import fork
from support.training.mini_run import MiniRun, assert_refused, fer_edge

LABELS = ("angry", "disgust", "fear", "happy")


def recall(logits: np.ndarray, truth: np.ndarray, index: int) -> float:
    return float((logits.argmax(axis=1) == index)[truth == index].mean())


@given(seed=st.integers(0, 2**32 - 1), floor=st.floats(0, 1), rows=st.integers(8, 60))
def test_one_class_gets_its_recall_and_no_more_than_it_needs(seed: int, floor: float, rows: int) -> None:
    random = np.random.default_rng(seed)
    logits = random.normal(size=(rows, 4)).astype(np.float32)
    truth = np.arange(rows, dtype=np.int64) % 4
    offsets = fit_offsets(logits, truth, LABELS, {"disgust": floor})
    assert (offsets >= 0).all()
    assert not offsets[[0, 2, 3]].any()
    assert recall(logits + offsets, truth, 1) >= floor - 1e-9
    if offsets[1]:
        less = offsets - np.array([0, 0.003, 0, 0], dtype=np.float32)
        assert recall(logits + less, truth, 1) < recall(logits + offsets, truth, 1)


def test_two_classes_get_theirs_together() -> None:
    random = np.random.default_rng(3)
    truth = np.arange(400, dtype=np.int64) % 4
    logits = (2 * np.eye(4)[truth] + random.normal(size=(400, 4)) - np.array([0, 2, 2, 0])).astype(np.float32)
    offsets = fit_offsets(logits, truth, LABELS, {"disgust": 0.7, "fear": 0.6})
    assert recall(logits + offsets, truth, 1) >= 0.7
    assert recall(logits + offsets, truth, 2) >= 0.6


def test_what_cannot_be_is_told() -> None:
    logits = np.zeros((8, 4), dtype=np.float32)
    truth = np.arange(8, dtype=np.int64) % 4
    with pytest.raises(InputError, match="no offsets give"):
        fit_offsets(logits, truth, LABELS, {"angry": 1.0, "disgust": 1.0})
    with pytest.raises(InputError, match="has no image of 'fear'"):
        fit_offsets(logits, np.zeros(8, dtype=np.int64), LABELS, {"fear": 0.5})


@pytest.mark.slow
def test_the_command_gives_the_recall_and_the_manifest_says_how(mini_run: MiniRun, tmp_path: Path) -> None:
    out = tmp_path / "bundle"
    floors = ("--min-recall", "disgust=0.9", "fear=.5")
    done = fork.fer_edge("convert", mini_run.run, "--out", out, *floors, "--variants", "float32", data=mini_run.data)
    assert done.returncode == 0, done.stderr
    offsets = json.loads((out / "manifest.json").read_text())["training"].get("logit_offsets", {})
    assert set(offsets) <= {"disgust", "fear"}
    report = tmp_path / "report.json"
    bench = fer_edge("bench", "accuracy", "--bundle", out, "--json", report, data=mini_run.data)
    assert bench.returncode == 0, bench.stderr
    (result,) = json.loads(report.read_text())["results"]
    found = {part["label"]: part["recall"] for part in result["accuracy"][0]["classes"]}
    assert found["disgust"] >= 0.9
    assert found["fear"] >= 0.5


@pytest.mark.slow
@pytest.mark.parametrize("floor", ["disgust", "disgust=2", "disgust=-0.1", "=0.5", "disgust=nan", "anger=0.5"])
def test_a_wrong_floor_is_refused(mini_run: MiniRun, tmp_path: Path, floor: str) -> None:
    out = tmp_path / "bundle"
    done = fork.fer_edge("convert", mini_run.run, "--out", out, "--min-recall", floor, data=mini_run.data)
    assert_refused(done, 2, floor.partition("=")[0])
    assert not out.exists()
