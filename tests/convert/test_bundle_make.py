"""``fer-edge bundle make``: bundles of .tflite files, quantized in any way or not."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_bench.runners import open_runner
from fer_edge.model.bundle import file_sha256, load_bundle
from fer_edge.model.graph_file import Table
from fer_edge.model.interpreter import LiteRtModel
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.model.quantization import softmax
from support.data.fer2013 import write_mini_fer2013
from support.models.bundles import random_faces
from support.processes import fork
from support.training.mini_run import assert_refused, fer_edge

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
LABELS = ",".join(FER2013_LABELS)
CHECKOUT = Path(__file__).parents[2]


def network(end: str | None = "softmax", shape: tuple[int, ...] = (48, 48, 1), outputs: int = 7) -> Any:
    """Return a network for pixels scaled to -1..1 or 0..1, whose outputs differ between images."""
    import keras

    keras.utils.set_random_seed(3)
    pixels = keras.Input(shape)
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(pixels)
    wide = keras.initializers.RandomNormal(stddev=0.3, seed=3)
    return keras.Model(
        pixels, keras.layers.Dense(outputs, activation=end, kernel_initializer=wide)(keras.layers.Flatten()(x))
    )


def tflite(model: Any, path: Path, *, low: float = 0.0, high: float = 1.0, io: str | None = None) -> Path:
    """Return ``model`` as a .tflite file: float32, or quantized with ``io`` tensors on pixels in ``low``..``high``."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    if io is not None:
        images = random_faces(30).astype(np.float32)[..., np.newaxis] / 255 * (high - low) + low
        extremes = np.stack([np.full(images[0].shape, value, np.float32) for value in (low, high)])
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([image[np.newaxis]] for image in (*images, *extremes))
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = getattr(tf, io)
    path.write_bytes(converter.convert())
    return path


def make(model: Path, out: Path, *options: str | Path) -> Any:
    return fork.fer_edge("bundle", "make", model, "--labels", LABELS, "--out", out, *options)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("low", "high", "io", "options"),
    [
        (0.0, 1.0, "uint8", ()),
        (-1.0, 1.0, "int8", ()),
        (0.0, 1.0, "float32", ("--input-range", "0..1")),  # QUANTIZE and DEQUANTIZE at its ends
        (-1.0, 1.0, None, ("--input-range=-1..1",)),
    ],
)
def test_a_files_own_quantization_gives_the_answers_of_the_network(
    low: float, high: float, io: str | None, options: tuple[str, ...], tmp_path: Path
) -> None:
    model = network()
    file = tflite(model, tmp_path / "theirs.tflite", low=low, high=high, io=io)
    done = make(file, tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    assert "SOFTMAX is removed" in done.stderr
    with load_bundle(tmp_path / "out") as bundle:
        manifest = bundle.manifest
        (variant,) = manifest.variants
        kept = bundle.variant(variant)  # compares the hash
    assert variant == ("float32" if io is None else "int8")
    assert (manifest.name, manifest.input.height, manifest.labels) == ("theirs", 48, FER2013_LABELS)
    assert kept.io.input_range == (low, high)
    original = LiteRtModel(file).input_details
    assert (kept.io.input_dtype, kept.io.input_zero_point) == (original.dtype, original.zero_point)
    assert kept.io.input_scale == pytest.approx(original.scale)

    images = random_faces(20, seed=5)
    theirs = np.asarray(model(images[..., np.newaxis].astype(np.float32) / 255 * (high - low) + low))
    with open_runner(tmp_path / "out") as runner:
        ours = softmax(runner.logits(images))
    assert np.abs(ours - theirs).max() < (1e-5 if io is None else 0.08)
    if io is not None:
        assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.8


@pytest.mark.slow
def test_it_runs_in_the_commands_and_is_measured_where_there_are_labels(tmp_path: Path) -> None:
    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    file = tflite(network(None), tmp_path / "theirs.tflite", io="int8")
    done = make(file, tmp_path / "out", "--data", data, "--license", "MIT", "--model-version", "2.0.0")
    assert done.returncode == 0, done.stderr
    assert "near chance" in done.stderr  # it was not trained
    manifest = load_bundle(tmp_path / "out").manifest
    assert (manifest.license, manifest.version) == ("MIT", "2.0.0")
    assert len(manifest.variants["int8"].accuracy) == 1
    assert manifest.temperature != 1.0
    assert file_sha256(tmp_path / "out" / "int8.tflite") == file_sha256(file)
    seen = fer_edge("predict", CHECKOUT / "edge/fer_edge/assets/astronaut.jpg", "--bundle", tmp_path / "out", "--json")
    assert seen.returncode == 0, seen.stderr
    again = make(file, tmp_path / "out")
    assert_refused(again, 2, "already there", "--force")
    assert make(file, tmp_path / "out", "--force").returncode == 0
    assert "Accuracy was not measured" in (tmp_path / "out" / "MODEL_CARD.md").read_text()


def test_the_released_file_gives_the_released_answers(tmp_path: Path) -> None:
    released = CHECKOUT / "edge/fer_edge/model/default_bundle"
    done = make(released / "int8.tflite", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    images = random_faces(10)
    with open_runner(tmp_path / "out") as ours, open_runner(released) as theirs:
        np.testing.assert_array_equal(ours.logits(images), theirs.logits(images))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("build", "options", "code", "words"),
    [
        (network, (), 2, ("does not define the scaling of pixels", "--input-range")),
        (network, ("--input-range", "caffe"), 2, ("--input-range", "3 channels")),
        (lambda: network("sigmoid"), ("--input-range", "0..1"), 4, ("LOGISTIC", "wanted logits")),
        (lambda: network(shape=(48, 48, 3)), ("--input-range", "0..1"), 4, ("three channels", "fer-edge convert")),
        (lambda: network(outputs=5), ("--input-range", "0..1"), 2, ("has 5 outputs", "--labels has 7 names")),
    ],
)
def test_what_does_not_suit_is_refused_in_one_line(
    build: Callable[[], Any], options: tuple[str, ...], code: int, words: tuple[str, ...], tmp_path: Path
) -> None:
    file = tflite(build(), tmp_path / "theirs.tflite")
    assert_refused(make(file, tmp_path / "out", *options), code, *words)
    assert not (tmp_path / "out").exists()


def test_a_range_that_a_quantized_input_cannot_hold_is_refused(tmp_path: Path) -> None:
    file = tflite(network(), tmp_path / "theirs.tflite", io="uint8")
    assert_refused(make(file, tmp_path / "out", "--input-range", "0..255"), 2, "holds numbers from 0 to 1", "clipped")


@pytest.mark.slow
def test_damaged_and_other_files_are_refused(tmp_path: Path) -> None:
    whole = tflite(network(), tmp_path / "whole.tflite").read_bytes()
    broken = tmp_path / "broken.tflite"
    for content in (whole[: len(whole) // 2], whole[:100], b"", b"\0" * 5000):
        broken.write_bytes(content)
        assert_refused(make(broken, tmp_path / "out"), 4, "broken.tflite", "not a usable .tflite model")
    other = tmp_path / "model.keras"
    other.write_bytes(b"PK")
    assert_refused(make(other, tmp_path / "out"), 4, "fer-edge convert")
    assert_refused(make(tmp_path / "nothing.tflite", tmp_path / "out"), 2, "no such file")
    assert_refused(fork.fer_edge("convert", broken, "--out", tmp_path / "out"), 4, "fer-edge bundle make")
    assert not (tmp_path / "out").exists()


def test_a_softmax_with_another_beta_is_refused(tmp_path: Path) -> None:
    """Its outputs would differ from those of the runtime's softmax."""
    file = tflite(network(), tmp_path / "theirs.tflite")
    data = bytearray(file.read_bytes())
    graph = Table(bytes(data), struct.unpack_from("<I", data, 0)[0]).tables(2)[0]
    options = graph.tables(3)[-1].table(4)
    assert options is not None
    at = options.position(0)
    assert at is not None and struct.unpack_from("<f", data, at)[0] == 1.0
    struct.pack_into("<f", data, at, 0.5)
    file.write_bytes(data)
    assert_refused(make(file, tmp_path / "out", "--input-range", "0..1"), 4, "theirs.tflite", "softmax with beta 0.5")
    assert not (tmp_path / "out").exists()
