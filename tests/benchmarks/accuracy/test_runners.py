"""Bundles and Keras files return logits for the same pixels."""

from __future__ import annotations

import json
import shutil
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest

from fer_bench.metrics import agreement
from fer_bench.runners import open_runner, runnable_variants
from fer_edge.errors import InputError, MissingExtraError, ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.interpreter import LiteRtModel
from fer_edge.model.labels import FER2013_LABELS
from support.models.bundles import random_faces


def edit_manifest(folder: Path, edit) -> None:
    path = folder / "manifest.json"
    table = json.loads(path.read_text())
    edit(table)
    path.write_text(json.dumps(table))


@pytest.fixture
def bundle_copy(tiny_bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_bundle, tmp_path / "copy"))


def save_keras(path: Path, *, softmax: bool = False, probabilities: bool = False, channels: int = 1) -> Path:
    import keras

    keras.utils.set_random_seed(3)
    pixels = keras.Input((48, 48, channels))
    hidden = keras.layers.AveragePooling2D(8)(keras.layers.Rescaling(1 / 255)(pixels))
    outputs = keras.layers.Dense(7, activation="softmax" if softmax else None)(keras.layers.Flatten()(hidden))
    keras.Model(pixels, keras.layers.Softmax()(outputs) if probabilities else outputs).save(path)
    return path


def test_float32_logits_are_the_files_own_output_for_raw_pixels(tiny_bundle: Path):
    images = random_faces(5)
    with open_runner(tiny_bundle, "float32") as runner:
        assert runner.labels == FER2013_LABELS
        assert runner.temperature == 1.5
        logits = runner.logits(images)
    model = LiteRtModel(tiny_bundle / "float32.tflite")
    expected = [model.invoke(image[None, :, :, None].astype(np.float32))[0] for image in images]
    assert logits.dtype == np.float32
    np.testing.assert_array_equal(logits, expected)


def test_int8_logits_are_dequantized_by_the_manifest(tiny_bundle: Path):
    images = random_faces(5)
    io = json.loads((tiny_bundle / "manifest.json").read_text())["variants"]["int8"]["io"]
    with open_runner(tiny_bundle) as runner:  # int8 is the default, as on the device
        logits = runner.logits(images)
    model = LiteRtModel(tiny_bundle / "int8.tflite")
    raw = np.array([model.invoke(image[None, :, :, None])[0] for image in images], dtype=np.float64)
    expected = (raw - io["output_zero_point"]) * io["output_scale"]
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)


def test_variants_agree_and_a_zip_gives_what_its_folder_gives(tiny_bundle: Path, tmp_path: Path):
    images = random_faces(40)
    archive = tmp_path / "bundle.zip"
    with zipfile.ZipFile(archive, "w") as stream:
        for file in tiny_bundle.iterdir():
            stream.write(file, file.name)
    found = {}
    for path in (tiny_bundle, archive):
        for variant in ("float32", "int8"):
            with open_runner(path, variant) as runner:
                found[path, variant] = runner.logits(images)
    assert agreement(found[tiny_bundle, "float32"], found[tiny_bundle, "int8"]) > 0.8
    np.testing.assert_array_equal(found[tiny_bundle, "int8"], found[archive, "int8"])


def test_images_of_another_size_are_resampled(tiny_bundle: Path):
    images = random_faces(3)
    large = images.repeat(2, axis=1).repeat(2, axis=2)
    with open_runner(tiny_bundle, "float32") as runner:
        np.testing.assert_allclose(runner.logits(large), runner.logits(images), atol=1e-3)


def test_keras_logits_do_not_depend_on_the_batch(tmp_path: Path):
    images = random_faces(260)  # one more than a batch holds, and then some
    with open_runner(save_keras(tmp_path / "model.keras")) as runner:
        together = runner.logits(images)
        alone = runner.logits(images[257:258])
    assert together.shape == (260, 7)
    np.testing.assert_allclose(together[257:258], alone, rtol=1e-4, atol=1e-4)
    runner.close()


def test_keras_models_of_another_contract_are_refused(tmp_path: Path):
    with pytest.raises(ModelError, match="ends in softmax; wanted logits"):
        open_runner(save_keras(tmp_path / "softmax.keras", softmax=True))
    with (  # a layer that can be recognized only by its output
        open_runner(save_keras(tmp_path / "probabilities.keras", probabilities=True)) as runner,
        pytest.raises(ModelError, match="ends in a softmax"),
    ):
        runner.logits(random_faces(3))
    with pytest.raises(ModelError, match="one grey input of fixed size"):
        open_runner(save_keras(tmp_path / "colour.keras", channels=3))
    with pytest.raises(InputError, match="leave out --variant int8"):
        open_runner(tmp_path / "softmax.keras", "int8")


@pytest.mark.parametrize("content", [b"", b"hello", b"PK\x03\x04 cut off"])
def test_files_that_are_no_keras_model_are_refused(tmp_path: Path, content: bytes):
    path = tmp_path / "model.keras"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="not a Keras 3 model"):
        open_runner(path)


def test_a_truncated_keras_archive_is_refused(tmp_path: Path):
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("config.json", "{}")
        archive.writestr("model.weights.h5", b"")
    with pytest.raises(ModelError, match="Keras cannot load it"):
        open_runner(path)


def test_nothing_there_and_unknown_variants(tiny_bundle: Path, tmp_path: Path):
    with pytest.raises(InputError, match="no such"):
        open_runner(tmp_path / "none.keras")
    with pytest.raises(InputError, match="no such bundle"):
        open_runner(tmp_path / "none")
    with pytest.raises(ModelError, match="no variant 'int4'"):
        open_runner(tiny_bundle, "int4")


def test_a_manifest_that_lies_about_its_file_is_refused(bundle_copy: Path):
    edit_manifest(bundle_copy, lambda table: table["variants"]["int8"]["io"].update(output_zero_point=99))
    with pytest.raises(ModelError, match="manifest says"):
        open_runner(bundle_copy, "int8")


def test_float32_comes_first_and_what_cannot_be_run_is_left_out(
    bundle_copy: Path, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    def add(table) -> None:
        for name in ("int8.onnx", "int8.pt"):
            table["variants"][f"other_{name[-2:]}"] = {**table["variants"]["int8"], "file": name}

    edit_manifest(bundle_copy, add)
    with load_bundle(bundle_copy) as bundle:
        assert runnable_variants(bundle) == ("float32", "int8", "other_nx")
        assert capfd.readouterr().err == "fer-edge: other_pt is left out: only .tflite and .onnx files can be run\n"
        monkeypatch.setitem(sys.modules, "onnxruntime", None)  # as if it were not installed
        assert runnable_variants(bundle) == ("float32", "int8")
    assert "other_nx is left out: onnxruntime is not installed" in capfd.readouterr().err


def test_an_onnx_file_without_its_runtime_is_told_in_one_line(
    mini_bundle: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(MissingExtraError, match=r"onnxruntime is not installed: .*pip install .*\[bench\]"):
        open_runner(mini_bundle, "onnx_int8")


def test_an_onnx_file_that_contradicts_its_manifest_is_refused(mini_bundle: Path, tmp_path: Path):
    copy = Path(shutil.copytree(mini_bundle, tmp_path / "copy"))
    edit_manifest(copy, lambda table: table["variants"]["onnx_int8"]["io"].update(output_zero_point=99))
    with pytest.raises(ModelError, match="manifest says"):
        open_runner(copy, "onnx_int8")
