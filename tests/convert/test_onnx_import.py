"""``fer-edge convert`` of ONNX files, made by onnx.helper or by tf2onnx from a Keras model."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from fer_bench.runners import open_runner
from fer_convert.foreign.files import check_kind, load
from fer_convert.foreign.input_range import parse_input_range
from fer_convert.foreign.open_foreign import ForeignOptions, open_foreign
from fer_edge.errors import InputError, ModelError
from fer_edge.model.labels import FER2013_LABELS
from support.data.fer2013 import write_mini_fer2013
from support.models.bundles import random_faces
from support.processes import fork
from support.training.mini_run import assert_refused

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
# In a separate process: onnx2tf removes the recursion limit, on which other tests of this process rely.
pytestmark = pytest.mark.skipif(find_spec("onnx2tf") is None, reason="the extra [import] is not installed")


def write_onnx(
    path: Path, *, shape: tuple[Any, ...] = (1, 1, 48, 48), end: str | None = "Softmax", outputs: int = 7
) -> Path:
    """A convolution, a reshape to a fixed shape as PyTorch writes it, and a dense layer, for pixels of 0..1."""
    from onnx import TensorProto, helper, numpy_helper, save

    random = np.random.default_rng(0)
    channels = shape[1]
    weights = {
        "kernel": random.normal(size=(8, channels, 5, 5)),
        "dense": random.normal(size=(8 * 11 * 11, outputs)) * 0.2,
        "bias": random.normal(size=outputs),
    }
    kept = [numpy_helper.from_array(values.astype(np.float32), name) for name, values in weights.items()]
    rows = 1 if isinstance(shape[0], int) else -1
    kept.append(numpy_helper.from_array(np.array([rows, 8 * 11 * 11]), "row"))
    nodes = [
        helper.make_node("Conv", ["pixels", "kernel"], ["a"], strides=[4, 4]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Reshape", ["b", "row"], ["c"]),
        helper.make_node("Gemm", ["c", "dense", "bias"], ["logits"]),
    ]
    if end:
        nodes.append(helper.make_node(end, ["logits"], ["answer"]))
    graph = helper.make_graph(
        nodes,
        "test",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("answer" if end else "logits", TensorProto.FLOAT, [shape[0], outputs])],
        kept,
    )
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


@pytest.mark.slow
def test_an_onnx_file_for_one_image_becomes_a_bundle_of_the_same_answers(tmp_path: Path) -> None:
    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    path = write_onnx(tmp_path / "theirs.onnx")
    done = fork.fer_edge(
        "convert", path, "--out", tmp_path / "out", "--input-range", "0..1", "--variants", "float32", data=data
    )
    assert done.returncode == 0, done.stderr
    for words in ("an ONNX file of opset 17", "one channel", "softmax is removed", "differ from ONNX Runtime's"):
        assert words in done.stderr
    images = random_faces(20)
    reference = load(path).call
    theirs = np.concatenate([reference(image[np.newaxis, ..., np.newaxis] / np.float32(255)) for image in images])
    with open_runner(tmp_path / "out") as runner:
        logits = runner.logits(images)
    ours = np.exp(logits - logits.max(axis=1, keepdims=True))
    np.testing.assert_allclose(ours / ours.sum(axis=1, keepdims=True), theirs, atol=1e-5)


@pytest.mark.slow
def test_channels_last_three_channels_and_any_size(tmp_path: Path) -> None:
    """Return a Keras model as tf2onnx writes it."""
    import keras
    import tensorflow as tf
    import tf2onnx

    keras.utils.set_random_seed(0)
    pixels = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(pixels)
    model = keras.Model(pixels, keras.layers.Dense(7)(keras.layers.GlobalAveragePooling2D()(x)))
    serve = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32, name="pixels")])
    path = tmp_path / "theirs.onnx"
    tf2onnx.convert.from_function(serve, serve.input_signature, opset=17, output_path=str(path))
    options = ForeignOptions(parse_input_range("-1..1"))
    with pytest.raises(InputError, match=r"takes images of any size: .*--input-size"):
        open_foreign(path, options)
    found = open_foreign(path, ForeignOptions(parse_input_range("-1..1"), size=(40, 40)))
    images = random_faces(4)[:, :40, :40, np.newaxis].astype(np.float32)
    ours = np.asarray(found.keras.predict_on_batch(images))
    np.testing.assert_allclose(ours, np.asarray(model(np.repeat(images / 127.5 - 1, 3, axis=-1))), atol=1e-5)
    assert found.labels == FER2013_LABELS


@pytest.mark.slow
@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"shape": (1, 2, 48, 48)}, "one channel or three"),
        ({"shape": (4, 1, 48, 48)}, "takes exactly 4 images at once"),
        ({"end": "Sigmoid"}, "ends in Sigmoid"),
    ],
)
def test_what_does_not_suit_is_refused(changes: dict[str, Any], words: str, tmp_path: Path) -> None:
    path = write_onnx(tmp_path / "theirs.onnx", **changes)
    with pytest.raises((ModelError, InputError), match=words):
        open_foreign(path, ForeignOptions(parse_input_range("0..1")))


@pytest.mark.slow
def test_numbers_without_labels_operators_of_others_and_quantized_files_are_refused(tmp_path: Path) -> None:
    import onnx

    options = ForeignOptions(parse_input_range("0..1"))
    with pytest.raises(InputError, match="has 5 outputs: name their labels"):
        open_foreign(write_onnx(tmp_path / "five.onnx", outputs=5), options)
    proto = onnx.load(write_onnx(tmp_path / "whole.onnx"))
    proto.graph.node[1].domain = "com.example"
    proto.opset_import.append(onnx.helper.make_opsetid("com.example", 1))
    onnx.save(proto, tmp_path / "foreign.onnx")
    with pytest.raises(ModelError, match=r"not in the ONNX standard: com\.example\.Relu"):
        open_foreign(tmp_path / "foreign.onnx", options)
    proto.graph.node[1].CopyFrom(onnx.helper.make_node("DynamicQuantizeLinear", ["a"], ["b", "s", "z"]))
    onnx.save(proto, tmp_path / "quantized.onnx")
    with pytest.raises(ModelError, match="is quantized already"):
        open_foreign(tmp_path / "quantized.onnx", options)


@pytest.mark.slow
def test_damaged_files_are_refused_by_the_command_in_one_line(tmp_path: Path) -> None:
    data = write_mini_fer2013(tmp_path / "fer2013.csv")
    whole = write_onnx(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "broken.onnx"
    for content in (whole[: len(whole) // 2], b"", b"\xff" * 100):
        path.write_bytes(content)
        done = fork.fer_edge("convert", path, "--out", tmp_path / "out", data=data)
        assert_refused(done, 4, "broken.onnx: not a usable ONNX model")
    state = tmp_path / "weights.pth"
    state.write_bytes(b"PK")
    assert_refused(fork.fer_edge("convert", state, "--out", tmp_path / "out", data=data), 4, "torch.export.save")


def test_a_missing_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib.util

    find = importlib.util.find_spec
    path = write_onnx(tmp_path / "theirs.onnx")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnx2tf" else find(name))
    with pytest.raises(InputError, match=r"onnx2tf is not installed: .*\[import\]"):
        check_kind(path)
