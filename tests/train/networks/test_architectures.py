"""The networks that a recipe can name: structure, training, conversion, and refusals."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import ConfigError
from fer_edge.settings.base import decode
from fer_train.backend import load_keras
from fer_train.networks.layers import count_macs
from fer_train.networks.registry import NETWORKS, network_of
from fer_train.recipe.loop import LoopSettings
from fer_train.recipe.model import ARCHITECTURES, ModelSettings, Vgg16Settings
from fer_train.recipe.recipe import Recipe
from support.processes import fork
from support.training.mini_run import MiniRun, assert_refused

SHORT = """
[augment]
rotate_degrees = 2.0
erase_probability = 0.0
[loop]
epochs = 1
batch_size = 28
learning_rate = 0.01
sizes = [{size}]
"""
BUILDER = """
import keras

@keras.saving.register_keras_serializable("mynet")
class Scale(keras.layers.Layer):
    def call(self, pixels):
        return pixels / 255

class Unknown(keras.layers.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def call(self, pixels):
        return pixels * self.factor

def small(height, width, labels, scale=Scale):
    pixels = keras.Input((height, width, 1))
    x = keras.layers.Conv2D(16, 5, strides=4, activation="relu")(scale()(pixels))
    return keras.Model(pixels, keras.layers.Dense(labels)(keras.layers.Flatten()(x)))

def unknown(height, width, labels):
    return small(height, width, labels, lambda: Unknown(1 / 255))

def code(height, width, labels):
    return small(height, width, labels, lambda: keras.layers.Lambda(lambda pixels: pixels / 255))

def softmax(height, width, labels):
    model = small(height, width, labels)
    return keras.Model(model.input, keras.layers.Softmax()(model.output))

def colour(height, width, labels):
    return keras.Sequential([keras.Input((height, width, 3)), keras.layers.Flatten(), keras.layers.Dense(labels)])

def picture(height, width, labels):
    return "a model"

def broken(height, width, labels):
    raise RuntimeError("out of order")
"""


def recipe(folder: Path, architecture: str, model: str = "", size: int = 48) -> Path:
    path = folder / "recipe.toml"
    path.write_text(f'name = "other"\n[model]\narchitecture = "{architecture}"\n{model}{SHORT.format(size=size)}')
    return path


def test_the_recipe_knows_the_keys_of_each_network() -> None:
    assert NETWORKS.keys() == ARCHITECTURES.keys()
    assert {key for keys in ARCHITECTURES.values() for key in keys} <= set(ModelSettings.__struct_fields__)


def test_mini_xception_is_the_network_that_was_published() -> None:
    load_keras()
    kept = network_of(Recipe(model=ModelSettings(architecture="mini_xception")), 7, (48, 48))
    model = kept.for_training(0)
    assert model.count_params() == 58_423  # as in the fer package, from which this file is
    assert count_macs(kept.for_inference(model)) == 5_520_448


@pytest.mark.slow
def test_mini_xception_trains_and_converts(mini_run: MiniRun, tmp_path: Path) -> None:
    run = tmp_path / "run"
    done = fork.fer_edge(
        "train", "--config", recipe(tmp_path, "mini_xception", size=40), "--out", run, data=mini_run.data
    )
    assert done.returncode == 0, done.stderr
    assert json.loads((run / "run.json").read_text())["params"] == 58_423
    made = fork.fer_edge("convert", run, "--out", tmp_path / "bundle", "--variants", "float32", data=mini_run.data)
    assert made.returncode == 0, made.stderr


@pytest.mark.slow
def test_a_builder_of_one_s_own_trains_and_converts(mini_run: MiniRun, tmp_path: Path) -> None:
    (tmp_path / "mynet.py").write_text(BUILDER)
    config, run = recipe(tmp_path, "mynet:small"), tmp_path / "run"
    done = fork.fer_edge("train", "--config", config, "--out", run, data=mini_run.data, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = fork.fer_edge(
        "convert", run, "--out", tmp_path / "bundle", "--variants", "float32", data=mini_run.data, cwd=tmp_path
    )
    assert made.returncode == 0, made.stderr
    # Its custom layer is found by every command that opens the run's model.
    asked = fork.fer_edge("evaluate", run / "model.keras", data=mini_run.data, cwd=tmp_path)
    assert asked.returncode == 0, asked.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("architecture", "words"),
    [
        ("mynet:unknown", ["cannot be kept in a file", "register_keras_serializable"]),
        ("mynet:code", ["cannot be kept in a file", "Lambda"]),
        ("mynet:softmax", ["softmax"]),
        ("mynet:colour", ["takes (None, 48, 48, 3)", "wanted (None, 48, 48, 1)"]),
        ("mynet:picture", ["str", "not a Keras model"]),
        ("mynet:broken", ["RuntimeError", "out of order"]),
        ("mynet:nothing", ["no function nothing"]),
        ("nonet:small", ["cannot import nonet"]),
    ],
)
def test_a_builder_that_cannot_be_used_is_refused_before_anything_is_written(
    mini_run: MiniRun, tmp_path: Path, architecture: str, words: list[str]
) -> None:
    (tmp_path / "mynet.py").write_text(BUILDER)
    refused = fork.fer_edge(
        "train", "--config", recipe(tmp_path, architecture), "--out", "run", data=mini_run.data, cwd=tmp_path
    )
    assert_refused(refused, 2, *words)
    assert not (tmp_path / "run").exists()


def test_vgg16_learns_its_head_first_and_then_its_last_block() -> None:
    load_keras()
    own = Vgg16Settings(weights="none", enlarge=1, frozen_epochs=1, tuned_blocks=1, tuned_rate=0.5)
    network = network_of(
        Recipe(model=ModelSettings(architecture="vgg16", vgg16=own), loop=LoopSettings(epochs=2)), 7, (48, 48)
    )
    network.prepare(resumed=False)

    def learning(model: Any) -> set[str]:
        return {layer.name for layer in model.layers if layer.trainable_weights}

    first = network.for_training(0)
    assert learning(first) == {"head", "logits"}
    assert learning(network.for_training(1)) - learning(first) == {f"block5_conv{step}" for step in (1, 2, 3)}
    assert [network.phase(epoch) for epoch in (0, 1, 2)] == [0, 1, 1]
    assert [network.rate_factor(epoch) for epoch in (0, 1)] == [1.0, 0.5]
    assert first.get_layer("block1_conv1").input.shape[-1] == 3
    # Its convolutions have exactly the 14,714,688 weights of Keras'.
    kernels = sum(layer.count_params() for layer in first.layers if layer.name.startswith("block"))
    assert kernels == 14_714_688


@pytest.mark.slow
def test_weights_that_cannot_be_had_are_told_in_one_line(mini_run: MiniRun, tmp_path: Path) -> None:
    config, out = recipe(tmp_path, "vgg16"), tmp_path / "run"
    train = ("train", "--config", config, "--out", out, "--weights")
    assert_refused(fork.fer_edge(*train, tmp_path / "none.h5", data=mini_run.data), 2, "none.h5", "imagenet")
    (tmp_path / "text.h5").write_text("not weights")
    assert_refused(fork.fer_edge(*train, tmp_path / "text.h5", data=mini_run.data), 4, "text.h5", "VGG16")
    assert not out.exists()


@pytest.mark.parametrize(
    "table",
    [
        {"architecture": "resnet"},
        {"architecture": "a b:c"},
        {"architecture": "mini_xception", "widths": [16]},
        {"architecture": "mini_xception", "dropout": 0.5},
        {"architecture": "fer_edge", "vgg16": {}},
        {"architecture": "vgg16", "vgg16": {"tuned_blocks": 6}},
    ],
)
def test_a_recipe_that_says_what_would_do_nothing_is_refused(table: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="model"):
        decode(Recipe, {"model": table}, "test")
