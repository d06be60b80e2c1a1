"""``fer-edge average``: one model with the mean of several runs' weights."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from fer_edge.model.bundle import load_bundle
from fer_train.backend import load_keras
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge


@pytest.fixture(scope="module")
def two_runs(mini_run: MiniRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Two runs that start from the same weights, with different seeds."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in (5, 6):
        recipe = folder / f"{seed}.toml"
        begun = RECIPE.replace("[model]\n", f'[model]\nweights = "{mini_run.run}"\n')
        assert begun != RECIPE
        recipe.write_text(begun.replace("[loop]\n", f"[loop]\nseed = {seed}\n"))
        done = fork.fer_edge("train", "--config", recipe, "--out", folder / str(seed), data=mini_run.data)
        assert done.returncode == 0, done.stderr
    return folder / "5", folder / "6"


@pytest.mark.slow
def test_the_mean_of_two_runs_is_converted_like_a_run(
    mini_run: MiniRun, two_runs: tuple[Path, Path], tmp_path: Path
) -> None:
    out = tmp_path / "mean"
    done = fork.fer_edge("average", *two_runs, "--out", out, data=mini_run.data)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{out / 'model.keras'}\n"

    keras = load_keras()
    mean, first, second = (keras.models.load_model(run / "model.keras", compile=False) for run in (out, *two_runs))
    kernels = 0
    for layer in mean.layers:
        for weight in layer.weights:
            if weight.name in ("kernel", "bias", "gamma", "beta"):
                parts = [
                    next(np.asarray(each) for each in model.get_layer(layer.name).weights if each.name == weight.name)
                    for model in (first, second)
                ]
                np.testing.assert_allclose(np.asarray(weight), (parts[0] + parts[1]) / 2, rtol=1e-5, atol=1e-6)
                kernels += not np.array_equal(*parts)
    assert kernels, "both runs learned the same, so that nothing is shown"

    told = json.loads((out / "run.json").read_text())
    assert [each["config"]["loop"]["seed"] for each in told["mean_of"]] == [5, 6]
    assert 0 <= told["public_test_accuracy"] <= 1

    bundle = tmp_path / "bundle"
    done = fork.fer_edge("convert", out, "--out", bundle, "--variants", "int8", data=mini_run.data)
    assert done.returncode == 0, done.stderr
    with load_bundle(bundle) as opened:
        assert len(opened.manifest.training["mean_of"]) == 2
    assert "the mean of the weights of 2 runs" in (bundle / "MODEL_CARD.md").read_text()


@pytest.mark.slow
def test_what_has_no_mean_is_refused(mini_run: MiniRun, two_runs: tuple[Path, Path], tmp_path: Path) -> None:
    first, second = two_runs
    out = tmp_path / "mean"

    def refused(*runs: Path, to: Path = out) -> object:
        return fer_edge("average", *runs, "--out", to, data=mini_run.data)

    assert_refused(refused(first), 2, "two or more")
    assert_refused(refused(first, first), 2, "each once")
    assert_refused(refused(first, tmp_path / "none"), 2, "none", "not the folder of a finished run")
    assert_refused(refused(first, second, to=first), 2, "already exists")
    cut = tmp_path / "cut"
    shutil.copytree(second, cut)
    record = json.loads((cut / "run.json").read_text())
    (cut / "run.json").write_text(json.dumps({**record, "params": 1}))
    assert_refused(refused(first, cut), 4, "its params are 1")
    (cut / "run.json").write_text(json.dumps({**record, "dataset": {**record["dataset"], "rows_sha256": "0"}}))
    assert_refused(refused(first, cut), 4, "trained on other rows")
    (cut / "run.json").write_text(json.dumps(record))
    (cut / "model.keras").write_bytes((second / "model.keras").read_bytes()[:1000])
    assert_refused(refused(first, cut), 4, "not a Keras 3 model file")
    assert not out.exists()
