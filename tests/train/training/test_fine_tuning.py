"""``--weights`` and ``model.weights``: a network that starts from another run's weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from fer_edge.model.labels import FER2013_LABELS
from fer_train.backend import load_keras
from fer_train.networks.registry import network_of
from fer_train.recipe.recipe import load_recipe, with_weights
from fer_train.training.fine_tuning import first_weights
from fer_train.training.run_folder.files import CONFIG, MODEL
from support.processes import fork
from support.training.mini_run import RECIPE, MiniRun, assert_refused, fer_edge


@pytest.mark.parametrize("labels", [FER2013_LABELS, FER2013_LABELS[::-1], ("happy", "sad")])
def test_all_begins_as_it_was_learned_but_a_last_layer_for_other_labels(
    mini_run: MiniRun, labels: tuple[str, ...]
) -> None:
    keras = load_keras()
    recipe = with_weights(load_recipe(mini_run.recipe), str(mini_run.run))
    network = network_of(recipe, len(labels), (48, 48))
    network.start_from(first_weights(mini_run.run, network.build(), labels))
    learned = keras.models.load_model(mini_run.run / MODEL, compile=False).get_weights()
    begun = network.for_training(0).get_weights()
    same = [np.array_equal(array, other) for array, other in zip(begun, learned, strict=True)]
    assert same[:-2] == [True] * (len(same) - 2)
    assert same[-2] == (labels == FER2013_LABELS)


@pytest.mark.slow
def test_a_run_tells_what_it_began_with_and_goes_on_from_there(mini_run: MiniRun, tmp_path: Path) -> None:
    recipe = tmp_path / "tuned.toml"
    recipe.write_text(RECIPE.replace("epochs = 3", "epochs = 2").replace("[2]", "[1]").replace("0.01", "1e-9"))
    options = ["--config", recipe, "--out", tmp_path / "run", "--weights", mini_run.run]
    done = fork.fer_edge("train", *options, data=mini_run.data)
    assert done.returncode == 0, done.stderr
    keras = load_keras()
    begun, learned = (keras.models.load_model(run / MODEL, compile=False) for run in (tmp_path / "run", mini_run.run))
    for layer in learned.layers:
        if "kernel" in {weight.name for weight in layer.weights}:
            kernel = np.asarray(begun.get_layer(layer.name).kernel)
            np.testing.assert_allclose(kernel, np.asarray(layer.kernel), atol=1e-5)
    kept = load_recipe(tmp_path / "run" / CONFIG)
    assert kept.model.weights == str(mini_run.run)
    # A finished run does not need its initial weights.
    assert replace(kept, model=replace(kept.model, weights="")).model == load_recipe(recipe).model


@pytest.mark.slow
def test_what_it_cannot_begin_with_is_refused(mini_run: MiniRun, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.keras").write_text("no model")
    other = tmp_path / "other.toml"
    other.write_text(RECIPE.replace("[16, 32]", "[16, 48]"))
    for recipe, weights, code, words in (
        (mini_run.recipe, tmp_path / "missing", 2, ["missing", "no such model file"]),
        (mini_run.recipe, tmp_path / "empty", 2, ["holds no model.keras", "finished run"]),
        (mini_run.recipe, tmp_path / "text.keras", 4, ["text.keras", "not a Keras 3 model file"]),
        (other, mini_run.run, 4, ["another network than the recipe's", "arrays of"]),
        (mini_run.recipe, "imagenet", 2, ["imagenet is for architecture 'vgg16'"]),
    ):
        options = ["--config", recipe, "--out", tmp_path / "run", "--weights", weights]
        assert_refused(fork.fer_edge("train", *options, data=mini_run.data), code, *words)
        assert not (tmp_path / "run").exists()
    refused = fer_edge("train", "--config", mini_run.recipe, "--weights", "", data=mini_run.data)
    assert_refused(refused, 2, "--weights")
