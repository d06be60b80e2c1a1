"""``loop.averaged_epochs``: the final model is the mean of the last epochs' weights, with renewed statistics."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_edge.errors import InputError
from fer_edge.settings.base import decode
from fer_train.backend import load_keras
from fer_train.data.dataset import Dataset, load_dataset
from fer_train.networks.layers import renew_norm
from fer_train.recipe.recipe import Recipe
from fer_train.training.run_folder.files import AVERAGED, CHECKPOINT, MODEL, RUN
from fer_train.training.run_folder.mean_weights import add_epoch, read_mean
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge

AVERAGED_RECIPE = RECIPE.replace("epochs = 3", "epochs = 3\naveraged_epochs = 2")


@pytest.fixture(scope="module")
def dataset(mini_run: MiniRun) -> Dataset:
    return load_dataset(mini_run.data)


def trained(run: Path, dataset: Dataset, *, stop_after: int = 0, resume: bool = False) -> dict[int, Any]:
    """Return the weights after each epoch of a run of ``AVERAGED_RECIPE``; an error ends it after ``stop_after``."""
    keras = load_keras()
    from fer_train.training.loop import train

    ends: dict[int, Any] = {}

    def on_epoch(line: dict[str, Any]) -> None:
        ends[line["epoch"]] = keras.models.load_model(run / CHECKPOINT, compile=False).get_weights()
        if line["epoch"] == stop_after:
            raise InterruptedError

    recipe = decode(Recipe, tomllib.loads(AVERAGED_RECIPE), "recipe")
    train(recipe, dataset, run, resume=resume, on_epoch=on_epoch)
    return ends


@pytest.mark.slow
def test_the_kept_model_has_the_mean_of_the_last_epochs_also_when_it_was_resumed(
    dataset: Dataset, tmp_path: Path
) -> None:
    keras = load_keras()
    ends = trained(tmp_path / "run", dataset)
    epochs, mean = read_mean(tmp_path / "run")
    assert epochs == 2
    for array, second, third in zip(mean, ends[2], ends[3], strict=True):
        np.testing.assert_allclose(array, (second + third) / 2, rtol=1e-5, atol=1e-6)
    kept = keras.models.load_model(tmp_path / "run" / MODEL, compile=False)
    kernels = [layer for layer in kept.layers if "kernel" in {weight.name for weight in layer.weights}]
    wanted = {array.tobytes() for array in mean}
    assert kernels and all(np.asarray(layer.kernel).tobytes() in wanted for layer in kernels)
    told = json.loads((tmp_path / "run" / RUN).read_text())
    assert told["averaged_epochs"] == 2 and "best_epoch" not in told

    with pytest.raises(InterruptedError):
        trained(tmp_path / "cut", dataset, stop_after=2)
    trained(tmp_path / "cut", dataset, resume=True)
    for array, other in zip(mean, read_mean(tmp_path / "cut")[1], strict=True):
        np.testing.assert_allclose(array, other, rtol=1e-2, atol=1e-2)


@pytest.mark.slow
def test_statistics_taken_anew_are_those_of_the_images(dataset: Dataset) -> None:
    keras = load_keras()
    inputs = keras.Input((48, 48, 1))
    features = keras.layers.Conv2D(16, 3, name="conv")(inputs)
    outputs = keras.layers.BatchNormalization(name="norm")(features)
    fixed = keras.layers.BatchNormalization(name="fixed", trainable=False)(outputs)
    model = keras.Model(inputs, fixed)
    images = dataset.splits["Training"].images[:100]
    seen = np.asarray(keras.Model(inputs, features).predict(images[..., None].astype(np.float32), verbose=0))
    renew_norm(model, images)
    norm = model.get_layer("norm")
    np.testing.assert_allclose(np.asarray(norm.moving_mean), seen.mean(axis=(0, 1, 2)), rtol=1e-3, atol=1e-2)
    np.testing.assert_allclose(np.asarray(norm.moving_variance), seen.var(axis=(0, 1, 2)), rtol=1e-2)
    assert norm.momentum == 0.99
    assert np.asarray(model.get_layer("fixed").moving_mean).any() == np.False_


def test_a_damaged_mean_is_refused(tmp_path: Path) -> None:
    add_epoch(tmp_path, [np.ones((2, 3), np.float32), np.zeros(4, np.float32)])
    with pytest.raises(InputError, match="another network"):
        add_epoch(tmp_path, [np.ones((2, 2), np.float32)])
    whole = (tmp_path / AVERAGED).read_bytes()
    for content in (b"", whole[:100], b"no archive"):
        (tmp_path / AVERAGED).write_bytes(content)
        with pytest.raises(InputError, match=AVERAGED):
            read_mean(tmp_path)


@pytest.mark.slow
def test_what_cannot_be_averaged_is_refused(mini_run: MiniRun, tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text(RECIPE.replace("epochs = 3", "epochs = 3\naveraged_epochs = 4"))
    refused = fer_edge("train", "--config", recipe, "--out", tmp_path / "run", data=mini_run.data)
    assert_refused(refused, 2, "averaged_epochs must be in 0..epochs")

    held = RECIPE.replace("size_changes = [2]", "size_changes = [-1]\ncooldown_epochs = 1")
    earlier = tmp_path / "earlier.toml"
    earlier.write_text(held)
    done = fork.fer_edge("train", "--config", earlier, "--out", tmp_path / "held", data=mini_run.data)
    assert done.returncode == 0, done.stderr
    recipe.write_text(held.replace("epochs = 3", "epochs = 4\naveraged_epochs = 3"))
    refused = fer_edge(
        "train", "--config", recipe, "--out", tmp_path / "run", "--from", tmp_path / "held", data=mini_run.data
    )
    assert_refused(refused, 2, "has done 2 of 4 epochs", "lower loop.averaged_epochs")
    assert not (tmp_path / "run").exists()
