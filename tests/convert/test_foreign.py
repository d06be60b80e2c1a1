"""``fer-edge convert`` on foreign models: the bundles, the notes, and the refusals."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_bench.runners import fitted, open_runner
from fer_convert.checks import check_logits, most_by_chance
from fer_convert.export.variants import VARIANTS
from fer_edge.errors import ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.model.quantization import softmax
from fer_train.data.dataset import PUBLIC_TEST, Dataset, load_dataset
from support.data.fer2013 import write_mini_fer2013
from support.models.foreign import with_head
from support.processes import fork
from support.training.mini_run import assert_refused, fer_edge

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
ALPHABETICAL = tuple(sorted(FER2013_LABELS))


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mini_fer2013(tmp_path_factory.mktemp("data") / "fer2013.csv", per_class=16, test_per_class=8)


@pytest.fixture(scope="module")
def dataset(data: Path) -> Dataset:
    return load_dataset(data)


def grey_network(end: str | None = None, outputs: int = 7, first: Any = None) -> Any:
    """Return a model for one grey channel, 48 x 48, that does not define its scaling, unless ``first`` does."""
    import keras

    pixels = keras.Input((48, 48, 1))
    x = keras.layers.Conv2D(4, 5, strides=4, activation="relu")(first(pixels) if first else pixels)
    return keras.Model(pixels, keras.layers.Dense(outputs, activation=end)(keras.layers.Flatten()(x)))


def converted(model: Path, data: Path, *options: str | Path) -> tuple[Path, str]:
    """Return the bundle that the command writes, and its messages."""
    out = model.parent / f"{model.name}-bundle"
    done = fork.fer_edge("convert", model, "--out", out, *options, data=data)
    assert done.returncode == 0, done.stderr
    return out, done.stderr


@pytest.mark.slow
def test_a_three_channel_h5_with_a_softmax_runs_in_every_command(dataset: Dataset, data: Path, tmp_path: Path) -> None:
    """MobileNetV2 in the legacy HDF5 format, trained on -1..1, with labels in alphabetical order."""
    import keras

    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNetV2((64, 64, 3), alpha=0.35, include_top=False, weights=None)
    order = [FER2013_LABELS.index(label) for label in ALPHABETICAL]
    model = with_head(base, "block_3_project_BN", dataset, lambda x: x / 127.5 - 1, order)
    path = tmp_path / "mobilenet.h5"
    model.save(path)
    bundle, said = converted(path, data, "--input-range=-1..1", "--labels", ",".join(ALPHABETICAL))
    for words in ("Keras file in HDF5", "64x64", "three channels", "-1..1", "softmax is removed"):
        assert words in said
    manifest = load_bundle(bundle).manifest
    assert (manifest.input.height, manifest.input.channels, manifest.labels) == (64, 1, ALPHABETICAL)
    assert manifest.license == "unknown"
    io = manifest.variants["int8"].io
    assert (io.input_dtype, io.input_scale, io.input_zero_point) == ("uint8", 1.0, 0)
    assert min(manifest.variants["int8"].accuracy.values()) > 0.4  # chance is 0.14
    assert "-1..1" in (bundle / "MODEL_CARD.md").read_text()

    images = dataset.splits[PUBLIC_TEST].images
    theirs = np.asarray(model.predict(np.repeat(fitted(images, (64, 64))[..., None], 3, -1) / 127.5 - 1, verbose=0))
    with open_runner(bundle, "float32") as runner:
        np.testing.assert_allclose(softmax(runner.logits(images)), theirs, atol=1e-3)
    with open_runner(bundle, "int8") as runner:
        assert (runner.logits(images).argmax(axis=1) == theirs.argmax(axis=1)).mean() > 0.85

    picture = tmp_path / "picture.png"
    cv2.imwrite(str(picture), np.full((200, 200), 128, np.uint8))
    seen = fer_edge("predict", picture, "--bundle", bundle, "--json")
    assert seen.returncode == 0, seen.stderr
    accuracy = fork.fer_edge("bench", "accuracy", "--bundle", bundle, data=data)
    assert accuracy.returncode == 0, accuracy.stderr
    latency = fer_edge("bench", "latency", "--bundle", bundle, "--threads", "1", "--rounds", "1", "--runs", "5")
    assert latency.returncode == 0, latency.stderr


@pytest.mark.slow
def test_a_model_that_scales_its_pixels_itself_needs_no_range(dataset: Dataset, data: Path, tmp_path: Path) -> None:
    """MobileNetV3Small, whose graph starts with a scaling, as a .keras file."""
    import keras

    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNetV3Small((64, 64, 3), alpha=0.75, include_top=False, weights=None)
    model = with_head(base, "expanded_conv_3_project_bn", dataset, lambda x: x, list(range(7)))
    path = tmp_path / "mobilenet3.keras"
    model.save(path)
    _, said = converted(path, data)
    assert "scales them itself, to -1..1" in said
    assert "assumed to be angry" in said


@pytest.mark.slow
def test_a_saved_model_is_as_good(dataset: Dataset, data: Path, tmp_path: Path) -> None:
    """MobileNet, for images of any size, exported as a SavedModel, which has no layers."""
    import keras

    keras.utils.set_random_seed(1)
    base = keras.applications.MobileNet((32, 32, 3), alpha=0.25, include_top=False, weights=None)
    sized = with_head(base, "conv_pw_4_relu", dataset, lambda x: x / 255, list(range(7)))
    model = keras.models.clone_model(sized, input_tensors=keras.Input((None, None, 3)))
    model.set_weights(sized.get_weights())
    path = tmp_path / "mobilenet1"
    model.export(path, verbose=False)
    assert_refused(fork.fer_edge("convert", path, "--out", tmp_path / "x", data=data), 2, "--input-size")
    bundle, said = converted(path, data, "--input-size", "32", "--input-range", "0..1", "--license", "CC0-1.0")
    assert "a SavedModel, 32x32" in said
    manifest = load_bundle(bundle).manifest
    assert (manifest.input.height, manifest.license) == (32, "CC0-1.0")
    assert min(manifest.variants["float32"].accuracy.values()) > 0.4
    assert json.loads((bundle / "manifest.json").read_text())["training"]["macs"] > 100_000


def test_what_was_trained_in_mixed_precision_is_converted_in_float32(data: Path, tmp_path: Path) -> None:
    """The same with an adapted Normalization, whose factors are computed in the graph."""
    import keras

    adapted = keras.layers.Normalization(axis=-1, dtype="float32")
    adapted.adapt(np.random.default_rng(0).uniform(0, 255, (40, 48, 48, 1)).astype(np.float32))
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = grey_network("softmax", first=adapted)
    finally:
        keras.config.set_dtype_policy(before)
    model.export(tmp_path / "mixed", verbose=False)
    _, said = converted(tmp_path / "mixed", data, "--variants", "float32")
    assert "computes in float16, and is converted in float32" in said
    assert "scales them itself, to -1.7" in said


def test_a_sequential_without_an_input_layer_is_converted(data: Path, tmp_path: Path) -> None:
    """A model built by its first batch keeps that batch's size; one of its convolutions is grouped.

    It returns one label for all images, which is reported.
    """
    import keras

    layers = [
        keras.layers.Rescaling(1 / 255),
        keras.layers.Conv2D(4, 5, strides=4),
        keras.layers.Conv2D(8, 3, groups=2, activation="relu"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(7, activation="softmax"),
    ]
    model = keras.Sequential(layers)
    model(np.zeros((16, 48, 48, 1), np.float32))
    layers[-1].set_weights([np.zeros((8, 7), np.float32), 2 * np.eye(7, dtype=np.float32)[3]])
    model.save(tmp_path / "sequential.keras")
    _, said = converted(tmp_path / "sequential.keras", data, "--variants", "float32")
    assert "near chance, 14 %; one label for every image would reach" in said


def test_one_label_for_every_image_is_no_better_than_chance() -> None:
    """A quarter of FER2013's PublicTest is happy, more than by chance."""
    skewed = np.array([3] * 4 + [0, 1, 2] * 4)
    assert most_by_chance(skewed, 3) == pytest.approx(0.5)
    assert most_by_chance(np.array([3] * 9 + [0, 1, 2, 4, 5, 6]), 7) == pytest.approx(0.6)


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of models that are refused, or accepted only with a flag."""
    import keras

    folder = tmp_path_factory.mktemp("models")

    @keras.saving.register_keras_serializable(package="elsewhere")
    class Secret(keras.layers.Layer):  # type: ignore[misc]
        def call(self, inputs: Any) -> Any:
            return inputs

    grey_network("softmax").save(folder / "plain.keras")
    grey_network("sigmoid").save(folder / "sigmoid.keras")
    grey_network("hard_sigmoid").save(folder / "hard.keras")
    grey_network("softmax", first=keras.layers.RandomFlip()).export(folder / "flips", verbose=False)
    rows = keras.layers.LSTM(4)(keras.layers.Reshape((48, 48))(pixels := keras.Input((48, 48, 1))))
    keras.Model(pixels, keras.layers.Dense(7)(rows)).save(folder / "lstm.keras")
    quantized = grey_network("softmax")
    quantized.quantize("int8")
    quantized.save(folder / "quantized.keras")
    grey_network("softmax", outputs=5).save(folder / "five.keras")
    grey_network(first=lambda x: Secret()(x) / 255.0).save(folder / "secret.keras")
    grey_network(first=lambda x: keras.ops.erf(x / 255.0)).save(folder / "erf.keras")
    grey_network(first=keras.layers.Rescaling(1 / 255.0)).save(folder / "scales.keras")
    grey_network().save_weights(folder / "only.weights.h5")
    pixels, more = keras.Input((48, 48, 1)), keras.Input((3,))
    both = keras.layers.Concatenate()([keras.layers.Flatten()(pixels), more])
    keras.Model([pixels, more], keras.layers.Dense(7)(both)).save(folder / "two.h5")
    answers = keras.layers.Flatten()(pixels)
    keras.Model(pixels, [keras.layers.Dense(7)(answers), keras.layers.Dense(1)(answers)]).save(folder / "age.keras")
    first = keras.Input((3, 48, 48))
    keras.Model(first, keras.layers.Dense(7)(keras.layers.Flatten()(first))).save(folder / "channels.keras")
    shares = keras.layers.Dense(7, activation="exponential")(answers / 1e6)
    keras.Model(pixels, shares / keras.ops.sum(shares, axis=1, keepdims=True)).save(folder / "shares.keras")
    (folder / "truncated.h5").write_bytes((folder / "two.h5").read_bytes()[:9000])
    (folder / "text.h5").write_text("not a model")
    (folder / "broken").mkdir()
    (folder / "broken" / "saved_model.pb").write_bytes(b"\x00\x01nothing")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "code", "words"),
    [
        ("plain.keras", [], 2, ["--input-range"]),
        ("plain.keras", ["--input-range", "caffe"], 2, ["3 channels"]),
        ("plain.keras", ["--input-range", "1..0"], 2, ["black and white"]),
        ("plain.keras", ["--input-range", "0..1", "--input-size", "64"], 2, ["48x48"]),
        ("plain.keras", ["--input-range", "0..1", "--labels", "a,b"], 2, ["7 outputs", "has 2 names"]),
        ("plain.keras", ["--input-range", "0..1", "--labels", "a,b,c,d,e,f,g"], 2, ["a, b, c", "angry"]),
        ("scales.keras", ["--input-range", "0..1"], 2, ["scaled twice"]),
        ("five.keras", ["--input-range", "0..1"], 2, ["5 outputs", "--labels"]),
        ("sigmoid.keras", ["--input-range", "0..1"], 4, ["Sigmoid"]),
        ("hard.keras", ["--input-range", "0..1"], 4, ["0 to 1", "sigmoid"]),
        ("flips", ["--input-range", "0..1"], 4, ["RandomFlip", "changes its state"]),
        ("lstm.keras", ["--input-range", "0..1"], 4, ["LSTM", "not supported"]),
        ("quantized.keras", ["--input-range", "0..1"], 4, ["quantized already", "float model"]),
        ("secret.keras", [], 4, ["Secret", "SavedModel"]),
        ("erf.keras", [], 4, ["Erf"]),
        ("two.h5", [], 4, ["2 inputs"]),
        ("age.keras", [], 4, ["2 outputs"]),
        ("channels.keras", [], 4, ["channels first"]),
        ("shares.keras", ["--input-range", "0..255"], 4, ["probabilities"]),
        ("only.weights.h5", [], 4, ["only weights"]),
        ("truncated.h5", [], 4, ["truncated"]),
        ("text.h5", [], 4, ["HDF5"]),
        ("broken", [], 4, ["cannot load this SavedModel"]),
        ("broken/saved_model.pb", [], 4, ["folder"]),
    ],
)
def test_what_cannot_be_supported_is_refused_with_the_reason(
    models: Path, data: Path, tmp_path: Path, name: str, options: list[str], code: int, words: list[str]
) -> None:
    refused = fork.fer_edge("convert", models / name, "--out", tmp_path / "out", *options, data=data)
    if refused.stderr.startswith("usage"):  # the value of a flag
        assert (refused.returncode, words[0] in refused.stderr) == (code, True)
        return
    assert_refused(refused, code, *words)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_options_of_foreign_models_are_refused_for_a_bundle(models: Path, data: Path, tmp_path: Path) -> None:
    bundle, said = converted(models / "scales.keras", data, "--variants", "float32")
    assert "it does not end in a softmax" in said
    refused = fork.fer_edge("convert", bundle, "--out", tmp_path / "x", "--labels", "a,b", data=data)
    assert_refused(refused, 2, "--labels")


def test_an_untrained_model_is_distinguished_from_a_broken_export() -> None:
    """A network with random weights has nearly the same output for all images, so that int8 cannot keep its labels."""
    random = np.random.default_rng(0)
    learned = random.normal(0, 1, (50, 7)).astype(np.float32)
    with pytest.raises(ModelError, match=r"at least 85.0% wanted\)$"):
        check_logits(VARIANTS["int8"], np.roll(learned, 1, axis=1), learned)
    untaught = learned * 1e-6 + np.eye(7, dtype=np.float32)[2] * 1e-4
    with pytest.raises(ModelError, match=r"gives 100% of them one label, as an untrained network does"):
        check_logits(VARIANTS["int8"], learned * 1e-4, untaught)
