"""``fer-edge convert`` as a process, and its checks on files broken on purpose."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_convert.checks import check_file, check_logits
from fer_convert.export.tflite import operators
from fer_convert.export.variants import VARIANTS
from fer_convert.model_card import model_card
from fer_edge.errors import ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import LiteRtModel
from support.processes import fork
from support.training.mini_run import MiniRun, assert_refused, fer_edge


def test_a_bundle_keeps_the_contract(mini_bundle: Path, mini_run: MiniRun) -> None:
    manifest = load_bundle(mini_bundle).manifest
    run = json.loads((mini_run.run / "run.json").read_text())
    assert manifest.name == "mini"
    assert list(manifest.variants) == list(VARIANTS)
    assert (manifest.input.height, manifest.input.width) == (48, 48)
    assert 0.05 < manifest.temperature < 20
    for name, variant in manifest.variants.items():
        io = variant.io
        if name in ("int8", "onnx_int8"):  # pixels as they come
            assert (io.input_dtype, io.input_scale, io.input_zero_point) == ("uint8", 1.0, 0)
            assert (io.output_dtype, io.output_scale > 0) == ("int8", True)
        else:
            assert (io.input_dtype, io.output_dtype) == ("float32", "float32")
    table = json.loads((mini_bundle / "manifest.json").read_text())
    assert {name: entry["summary"] for name, entry in table["variants"].items()} == {
        name: spec.summary for name, spec in VARIANTS.items()
    }
    assert manifest.training["params"] == run["params"]
    assert manifest.training["macs"] == run["macs"]
    assert manifest.training["dataset"] == run["dataset"]
    assert manifest.training["config"]["name"] == "mini"
    # float32 equals the Keras model: the same accuracy in another runtime.
    # Measured on miniature data, so the name is not FER2013's, although the file is called fer2013.csv.
    assert manifest.variants["float32"].accuracy == {
        "other_fer2013_public_test": pytest.approx(run["public_test_accuracy"], abs=1e-6)
    }
    assert sorted(path.name for path in mini_bundle.iterdir()) == [
        "MODEL_CARD.md",
        "dynamic.tflite",
        "float16.tflite",
        "float32.tflite",
        "int16x8.tflite",
        "int8.tflite",
        "manifest.json",
        "onnx_float32.onnx",
        "onnx_int8.onnx",
    ]
    card = (mini_bundle / "MODEL_CARD.md").read_text()
    assert "mini" in card
    assert "FER2013 was collected by web search" in card
    assert (manifest.license, "Weights: unknown." in card) == ("unknown", True)


@pytest.mark.parametrize(
    "training", [{"dataset": {"name": "faces"}}, {"brought": {"from": "a.h5", "told": ["a line"]}}]
)
def test_a_card_says_nothing_of_fer2013_where_other_images_were_trained_on(
    mini_bundle: Path, training: dict[str, Any]
) -> None:
    manifest = json.loads((mini_bundle / "manifest.json").read_text())
    known = manifest["training"] if "dataset" in training else {"params": 1, "macs": 1}
    manifest["training"] = {**known, **training}
    if "dataset" in training:
        manifest["training"]["dataset"] = {**known["dataset"], **training["dataset"]}
    for variant in manifest["variants"].values():
        variant["accuracy"] = {"faces_public_test": 0.5}
    card = model_card(manifest)
    assert "PublicTest of `faces`" in card or "PublicTest split of `faces`" in card
    assert ("All choices were made" in card) == ("dataset" in training)
    for wrong in ("FER2013 was collected", "Carrier", "{"):
        assert wrong not in card


@pytest.mark.parametrize("name", ["fer-edge-m", "fer-edge-s", "fer-edge-xs"])
def test_the_released_cards_are_those_of_their_manifests(name: str) -> None:
    """`make bench` adds the measured numbers below its mark."""
    folder = Path(__file__).parents[2] / "models" / name
    card, _, _ = (folder / "MODEL_CARD.md").read_text(encoding="utf-8").partition("\n<!-- numbers: make bench -->\n")
    assert card == model_card(json.loads((folder / "manifest.json").read_text(encoding="utf-8")))


def test_the_files_hold_integer_arithmetic_and_no_variables(mini_bundle: Path) -> None:
    found = operators(mini_bundle / "int8.tflite")
    assert "CONV_2D" in found
    assert not {name for name in found if "VARIABLE" in name or "HANDLE" in name or name.startswith("CUSTOM")}
    # Integers only: no tensor is converted to floats, and the input is raw bytes.
    assert "DEQUANTIZE" not in found
    model = LiteRtModel(mini_bundle / "int8.tflite")
    try:
        black, white = (model.invoke(np.full((1, 48, 48, 1), value, np.uint8)) for value in (0, 255))
        assert black.dtype == np.int8
        assert not np.array_equal(black, white)
    finally:
        model.close()


@pytest.mark.slow
def test_an_existing_bundle_is_safe_without_force(mini_bundle: Path, mini_run: MiniRun, tmp_path: Path) -> None:
    out = tmp_path / "mini"
    shutil.copytree(mini_bundle, out)
    before = (out / "manifest.json").read_bytes()
    assert_refused(fer_edge("convert", mini_run.run, "--out", out, data=mini_run.data), 2, "--force", str(out))
    assert (out / "manifest.json").read_bytes() == before
    # Also with --force, a conversion that fails must keep the old bundle.
    broken = tmp_path / "broken.keras"
    broken.write_bytes((mini_run.run / "model.keras").read_bytes()[:5000])
    refused = fork.fer_edge("convert", broken, "--out", out, "--force", data=mini_run.data)
    assert_refused(refused, 4, "broken.keras")
    assert (out / "manifest.json").read_bytes() == before
    named = ("--force", "--name", "other", "--model-version", "1.2.0")
    done = fork.fer_edge("convert", mini_run.run, "--out", out, *named, data=mini_run.data)
    assert done.returncode == 0, done.stderr
    manifest = load_bundle(out).manifest
    assert (manifest.name, manifest.version) == ("other", "1.2.0")
    assert list(manifest.variants) == ["float32", "int8"]  # the default
    assert sorted(path.name for path in tmp_path.iterdir()) == ["broken.keras", "mini"]


def test_force_replaces_a_bundle_and_nothing_else(mini_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "webapp"
    (out / "src").mkdir(parents=True)
    (out / "src" / "app.js").write_text("x")
    (out / "manifest.json").write_text("{}")  # web applications have one too
    assert_refused(fer_edge("convert", mini_bundle, "--out", out, "--force"), 2, "src")
    assert (out / "src" / "app.js").read_text() == "x"
    noted = tmp_path / "noted"
    shutil.copytree(mini_bundle, noted)
    (noted / "NOTES.md").write_text("mine")
    assert_refused(fer_edge("convert", mini_bundle, "--out", noted, "--force"), 2, "NOTES.md")
    assert (noted / "NOTES.md").read_text() == "mine"


@pytest.mark.slow
def test_termination_leaves_nothing_behind(mini_run: MiniRun, tmp_path: Path) -> None:
    out = tmp_path / "out" / "mini"
    command = [sys.executable, "-m", "fer_edge", "convert", str(mini_run.run), "--out", str(out)]
    environment = {**os.environ, "FER_EDGE_DATA": str(mini_run.data)}
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
    deadline = time.monotonic() + 300
    while not (out.parent.exists() and any(out.parent.iterdir())) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.terminate()
    _, said = process.communicate(timeout=120)
    if process.returncode != 0:  # on a very fast machine it may end before the signal arrives
        assert process.returncode == 143, said
        assert said.endswith("fer-edge: terminated\n")
        assert list(out.parent.iterdir()) == []


def test_a_part_of_a_bundle_can_be_copied(mini_bundle: Path, tmp_path: Path) -> None:
    out = tmp_path / "device"
    done = fer_edge("convert", mini_bundle, "--out", out, "--variants", "int8")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in out.iterdir()) == ["int8.tflite", "manifest.json"]
    assert list(load_bundle(out).manifest.variants) == ["int8"]
    two = fer_edge("convert", mini_bundle, "--out", tmp_path / "two", "--variants", "int8,onnx_int8", "int8")
    assert two.returncode == 0, two.stderr
    assert list(load_bundle(tmp_path / "two").manifest.variants) == ["int8", "onnx_int8"]
    assert_refused(fer_edge("convert", mini_bundle, "--out", tmp_path / "x", "--variants", "int4"), 4, "int4", "int8")
    assert_refused(fer_edge("convert", mini_bundle, "--out", tmp_path / "x", "--variants", ","), 2, "--variants")
    assert not (tmp_path / "x").exists()


def test_wrong_models_are_refused_in_one_line(mini_bundle: Path, mini_run: MiniRun, tmp_path: Path) -> None:
    out = tmp_path / "out"
    empty, folder = tmp_path / "empty.keras", tmp_path / "folder"
    empty.write_bytes(b"")
    folder.mkdir()
    for model, code, word in (
        (tmp_path / "none.keras", 2, "none.keras"),
        (folder, 2, "folder"),
        (empty, 4, "empty.keras"),
        (mini_bundle / "int8.tflite", 4, "int8.tflite"),
        (mini_run.recipe, 4, "mini.toml"),
    ):
        assert_refused(fer_edge("convert", model, "--out", out, data=mini_run.data), code, word)
    assert_refused(
        fer_edge("convert", mini_run.run, "--out", out, "--variants", "int3", data=mini_run.data), 2, "int3", "int8"
    )
    assert_refused(fer_edge("convert", mini_run.run, "--out", mini_run.recipe, data=mini_run.data), 2, "mini.toml")
    assert_refused(
        fer_edge("convert", mini_run.run, "--out", mini_run.run, data=mini_run.data), 2, "does not belong to a bundle"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty.keras", "folder"]


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
def test_a_full_disk_leaves_nothing(mini_run: MiniRun, tmp_path: Path) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", small], check=False, capture_output=True
    )
    if mounted.returncode != 0:
        pytest.skip("a tmpfs cannot be mounted on this machine")
    try:
        refused = fork.fer_edge("convert", mini_run.run, "--out", small / "mini", data=mini_run.data)
        assert_refused(refused, 6, str(small))
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", small], check=True)


def test_a_file_without_its_weights_is_refused(tmp_path: Path) -> None:
    """A silent failure of the converter: with the model as second argument, the variables are not in the file."""
    import keras
    import tensorflow as tf

    pixels = keras.Input((8, 8, 1))
    model = keras.Model(pixels, keras.layers.Dense(7)(keras.layers.Flatten()(pixels)))
    serve = tf.function(model, input_signature=[tf.TensorSpec((1, 8, 8, 1), tf.float32)])
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()], model)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS, tf.lite.OpsSet.SELECT_TF_OPS]
    converter.experimental_enable_resource_variables = True
    path = tmp_path / "float32.tflite"
    path.write_bytes(converter.convert())
    if not {"VAR_HANDLE", "READ_VARIABLE"} & set(operators(path)):
        pytest.skip("this TensorFlow no longer leaves the weights out")
    with pytest.raises(ModelError, match="VAR_HANDLE"):
        check_file(path, VARIANTS["float32"], (8, 8), 7, model.count_params())


def test_a_wrong_input_range_is_refused(tmp_path: Path) -> None:
    """If calibrated on images without black and white, the input's scale is not 1, and raw pixels would be wrong."""
    import keras
    import tensorflow as tf

    pixels = keras.Input((8, 8, 1))
    hidden = keras.layers.Rescaling(1 / 255)(pixels)
    model = keras.Model(pixels, keras.layers.Dense(7)(keras.layers.Flatten()(hidden)))
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    random = np.random.default_rng(0)
    VARIANTS["int8"].configure(converter, random.integers(20, 230, (8, 8, 8), dtype=np.uint8))
    path = tmp_path / "int8.tflite"
    path.write_bytes(converter.convert())
    with pytest.raises(ModelError, match="input scale"):
        check_file(path, VARIANTS["int8"], (8, 8), 7, 0)


def test_logits_that_are_not_the_models_are_refused() -> None:
    random = np.random.default_rng(0)
    reference = random.normal(size=(200, 7)).astype(np.float32)
    for name in VARIANTS:
        assert check_logits(VARIANTS[name], reference, reference) == 1.0
        with pytest.raises(ModelError, match="agrees"):
            check_logits(VARIANTS[name], np.roll(reference, 1, axis=1), reference)
        with pytest.raises(ModelError, match="NaN"):
            check_logits(VARIANTS[name], np.full_like(reference, np.nan), reference)
    with pytest.raises(ModelError, match="differs"):
        check_logits(VARIANTS["float32"], reference + 0.1, reference)
