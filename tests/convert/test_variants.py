"""The properties of each variant, tested on files that the real command makes from a tiny model."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from fer_bench.onnx_model import load_model
from fer_bench.runners import open_runner
from fer_convert.checks import check_file
from fer_convert.export import onnx_translation, tflite
from fer_convert.export.variants import VARIANTS
from fer_edge.errors import MissingExtraError, ModelError
from fer_train.data.dataset import PUBLIC_TEST, load_dataset
from support.environments.fresh_install import CHECKOUT
from support.training.mini_run import MiniRun, assert_refused, fer_edge

RELEASED = CHECKOUT / "models" / "fer-edge-s"
Logits = dict[str, npt.NDArray[np.float32]]


@pytest.fixture(scope="module")
def logits(mini_bundle: Path, mini_run: MiniRun) -> Logits:
    """Return the logits [N, labels] of every variant on the miniature PublicTest."""
    images = load_dataset(mini_run.data).splits[PUBLIC_TEST].images
    found = {}
    for name in VARIANTS:
        with open_runner(mini_bundle, name) as runner:
            found[name] = runner.logits(images)
    return found


def weight_dtypes(path: Path) -> set[str]:
    """Return the stored dtypes of the file's tensors with 1,000 or more values."""
    if path.suffix == ".onnx":
        import onnx

        values = (onnx.numpy_helper.to_array(tensor) for tensor in onnx.load(path).graph.initializer)
        return {value.dtype.name for value in values if value.size >= 1000}
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    names = {code: name.lower() for name, code in vars(schema.TensorType).items() if not name.startswith("_")}
    return {
        names[tensor.type]
        for tensor in model.subgraphs[0].tensors
        if model.buffers[tensor.buffer].data is not None and np.prod(tensor.shape) >= 1000
    }


@pytest.mark.parametrize(
    ("variant", "dtype"),
    [
        ("float32", "float32"),
        ("float16", "float16"),
        ("dynamic", "int8"),
        ("int8", "int8"),
        ("int16x8", "int8"),
        ("onnx_float32", "float32"),
        ("onnx_int8", "int8"),
    ],
)
def test_the_weights_are_stored_as_the_name_says(mini_bundle: Path, variant: str, dtype: str) -> None:
    path = mini_bundle / VARIANTS[variant].file
    assert weight_dtypes(path) == {dtype}
    size, float32 = path.stat().st_size, (mini_bundle / "float32.tflite").stat().st_size
    assert size < {"float32": 1.1, "float16": 0.65, "int8": 0.6}[dtype] * float32


def test_narrower_numbers_move_the_logits_as_little_as_they_should(logits: Logits) -> None:
    spread = float(logits["float32"].std())
    for variant, share in (
        ("float16", 0.02),
        ("dynamic", 0.2),
        ("int8", 0.3),
        ("int16x8", 0.2),
        ("onnx_float32", 1e-4),
    ):
        error = float(np.sqrt(np.mean((logits[variant] - logits["float32"]) ** 2)))
        assert error < share * spread, (variant, error, spread)
        # It is a different file, not float32 under another name.
        assert variant == "onnx_float32" or error > 0


def test_onnx_int8_answers_as_int8_does(logits: Logits, mini_bundle: Path) -> None:
    step = json.loads((mini_bundle / "manifest.json").read_text())["variants"]["int8"]["io"]["output_scale"]
    steps = np.abs(logits["onnx_int8"] - logits["int8"]) / step
    assert steps.max() < 2.5
    assert (steps < 0.5).mean() > 0.9


def test_the_readme_has_a_row_for_each() -> None:
    text = (CHECKOUT / "docs" / "explanation" / "quantization.md").read_text()
    table = text.split("## Variants", 1)[1].split("##", 1)[0]
    assert re.findall(r"^\| `(\w+)` \|", table, flags=re.MULTILINE) == list(VARIANTS)


def test_what_the_graphs_hold(mini_bundle: Path) -> None:
    quantized = set(onnx_translation.operators(mini_bundle / "onnx_int8.onnx"))
    assert {"QuantizeLinear", "DequantizeLinear", "Conv"} <= quantized
    # BatchNorm is folded into the convolutions: the only additions are the residuals.
    assert not {"BatchNormalization", "Mul", "Sub"} & set(onnx_translation.operators(mini_bundle / "onnx_float32.onnx"))
    # float16 weights are widened as the file is loaded; int16x8 has floats at its two ends alone; int8 has none.
    for variant, ends in (("float16", {"DEQUANTIZE"}), ("int16x8", {"QUANTIZE", "DEQUANTIZE"})):
        assert ends <= set(tflite.operators(mini_bundle / f"{variant}.tflite"))
    assert "DEQUANTIZE" not in tflite.operators(mini_bundle / "int8.tflite")


def test_a_file_of_wider_weights_than_its_name_says_is_refused() -> None:
    params = json.loads((RELEASED / "manifest.json").read_text())["training"]["params"]
    check_file(RELEASED / "float32.tflite", VARIANTS["float32"], (48, 48), 7, params)
    with pytest.raises(ModelError, match="wider"):
        check_file(RELEASED / "float32.tflite", VARIANTS["float16"], (48, 48), 7, params)


def test_a_missing_package_is_reported_before_the_conversion(monkeypatch: pytest.MonkeyPatch) -> None:
    onnx_translation.check_packages()
    monkeypatch.setitem(sys.modules, "tf2onnx", None)  # as if it were not installed
    with pytest.raises(MissingExtraError, match=r"tf2onnx is not installed: .*pip install .*\[convert\]"):
        onnx_translation.check_packages()


def test_a_translation_that_answers_otherwise_is_refused() -> None:
    def refuse(name: str, given: npt.NDArray[Any], original: npt.NDArray[Any]) -> None:
        with pytest.raises(ModelError, match="its outputs differ from those of"):
            onnx_translation.check_same(VARIANTS[name], given, original)

    floats = np.random.default_rng(0).normal(size=(20, 7)).astype(np.float32)
    onnx_translation.check_same(VARIANTS["onnx_float32"], floats + np.float32(1e-5), floats)
    refuse("onnx_float32", floats + np.float32(0.1), floats)
    refuse("onnx_float32", np.full_like(floats, np.nan), floats)
    steps = np.arange(-70, 70, dtype=np.int8).reshape(20, 7)
    once, everywhere = steps.copy(), steps + np.int8(1)
    once[0, 0] += 4
    onnx_translation.check_same(VARIANTS["onnx_int8"], once, steps)
    refuse("onnx_int8", everywhere, steps)
    once[0, 0] += 1
    refuse("onnx_int8", once, steps)


@pytest.mark.slow
def test_the_device_refuses_onnx_and_the_bench_runs_it(mini_bundle: Path, mini_run: MiniRun) -> None:
    for command in ("run", "predict"):
        refused = fer_edge(
            command, CHECKOUT / "docs/status-page.png", "--bundle", mini_bundle, "--variant", "onnx_int8"
        )
        assert_refused(refused, 4, "onnx_int8.onnx", ".tflite variant")
    told = fer_edge("evaluate", mini_bundle, "--variant", "onnx_int8", "--json", data=mini_run.data)
    assert told.returncode == 0, told.stderr
    evaluated = json.loads(told.stdout)
    manifest = json.loads((mini_bundle / "manifest.json").read_text())
    (measured,) = manifest["variants"]["onnx_int8"]["accuracy"].values()
    assert evaluated["accuracy"] == pytest.approx(measured, abs=1e-6)


@pytest.mark.parametrize("content", [b"", b"no protobuf at all" * 40, None])
def test_files_that_are_no_onnx_model_are_refused(tmp_path: Path, mini_bundle: Path, content: bytes | None) -> None:
    path = tmp_path / "model.onnx"
    whole = (mini_bundle / "onnx_int8.onnx").read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(ModelError, match=r"model\.onnx: not a usable \.onnx model"):
        load_model(path)
    for gone in (tmp_path / "none.onnx", tmp_path):
        with pytest.raises(ModelError, match="no such model file"):
            load_model(gone)


def test_a_tensor_of_another_shape_or_dtype_is_an_error(mini_bundle: Path) -> None:
    model = load_model(mini_bundle / "onnx_int8.onnx")
    try:
        assert model.input_details.shape == (1, 48, 48, 1)
        with pytest.raises(ValueError, match="expected uint8"):
            model.invoke(np.zeros((1, 48, 48, 1), np.float32))
        with pytest.raises(ValueError, match="expected uint8"):
            model.invoke(np.zeros((48, 48), np.uint8))
    finally:
        model.close()
        model.close()
