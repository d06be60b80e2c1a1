"""SavedModels that scale their pixels themselves, as Keras 3 and TensorFlow export them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_bench.runners import open_runner
from fer_edge.model.quantization import softmax
from fer_train.data.dataset import PUBLIC_TEST, load_dataset
from support.data.fer2013 import write_mini_fer2013
from support.processes import fork
from support.training.mini_run import assert_refused

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini_fer2013(tmp_path_factory.mktemp("data") / "fer2013.csv", per_class=16, test_per_class=8)


def network(scale: Callable[[Any], Any]) -> Any:
    import keras

    keras.utils.set_random_seed(3)
    pixels = keras.Input((48, 48, 1))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(scale(pixels))
    x = keras.layers.BatchNormalization()(x)
    start = keras.initializers.RandomNormal(stddev=0.5, seed=3)  # so that the outputs differ between images
    return keras.Model(pixels, keras.layers.Dense(7, "softmax", kernel_initializer=start)(keras.layers.Flatten()(x)))


def keras_3(scale: Callable[[Any], Any], path: Path) -> Callable[[Any], Any]:
    """Export by ``Model.export``; return a function with the model's outputs."""
    model = network(scale)
    model.export(path, verbose=False)
    return model  # type: ignore[no-any-return]


def module(path: Path) -> Callable[[Any], Any]:
    """A tf.Module that divides by 255, saved with its signature; it returns a dictionary."""
    import tensorflow as tf

    class Module(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = tf.Variable(tf.random.normal((48 * 48, 7), stddev=0.5, seed=1))

        @tf.function(input_signature=[tf.TensorSpec([None, 48, 48, 1], tf.float32)])  # type: ignore[untyped-decorator]
        def run(self, images: Any) -> Any:
            return {"scores": tf.nn.softmax(tf.matmul(tf.reshape(images / 255.0 - 0.5, [-1, 48 * 48]), self.weights))}

    made = Module()
    tf.saved_model.save(made, path, signatures=made.run)
    return lambda images: made.run(tf.constant(images))["scores"]


def subclass(path: Path, batch: int | None = None) -> Callable[[Any], Any]:
    """A subclass of tf.keras.Model with its scaling inside ``call``."""
    import keras
    import tensorflow as tf

    class Subclass(tf.keras.Model):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.wrapped = network(lambda x: x)

        def call(self, images: Any) -> Any:
            return self.wrapped(keras.ops.divide(images, 127.5) - 1.0)

    made = Subclass()
    made(tf.zeros((1, 48, 48, 1)))
    answer = tf.function(made)
    spec = tf.TensorSpec([batch, 48, 48, 1], tf.float32, name="images")
    tf.saved_model.save(made, path, signatures=answer.get_concrete_function(spec))
    return made  # type: ignore[no-any-return]


def keras_rescaling(path: Path) -> Callable[[Any], Any]:
    import keras

    return keras_3(keras.layers.Rescaling(1 / 255), path)


def keras_shifted(path: Path) -> Callable[[Any], Any]:
    import keras

    return keras_3(keras.layers.Rescaling(1 / 127.5, offset=-1), path)


def keras_division(path: Path) -> Callable[[Any], Any]:
    return keras_3(lambda x: x / 255.0, path)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "scaled_to"),
    [
        (keras_rescaling, "0..1"),
        (keras_shifted, "-1..1"),
        (keras_division, "0..1"),
        (module, "-0.5..0.5"),
        (subclass, "-1..1"),
    ],
)
def test_a_model_that_scales_its_pixels_is_converted(
    data: Path, tmp_path: Path, make: Callable[[Path], Callable[[Any], Any]], scaled_to: str
) -> None:
    model = make(tmp_path / "model")
    done = fork.fer_edge("convert", tmp_path / "model", "--out", tmp_path / "bundle", data=data)
    assert done.returncode == 0, done.stderr
    assert f"scales them itself, to {scaled_to}" in done.stderr
    images = load_dataset(data).splits[PUBLIC_TEST].images
    theirs = np.asarray(model(images[..., None].astype(np.float32)))
    assert len(set(theirs.argmax(axis=1))) > 1  # they do differ
    with open_runner(tmp_path / "bundle", "float32") as runner:
        np.testing.assert_allclose(softmax(runner.logits(images)), theirs, atol=1e-3)
    with open_runner(tmp_path / "bundle", "int8") as runner:
        assert (runner.logits(images).argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.9


def test_a_fixed_number_of_images_is_refused_with_what_to_do(data: Path, tmp_path: Path) -> None:
    subclass(tmp_path / "model", batch=1)
    done = fork.fer_edge("convert", tmp_path / "model", "--out", tmp_path / "bundle", data=data)
    assert_refused(done, 4, "takes exactly 1 image at once; save it with None as its number of images")
