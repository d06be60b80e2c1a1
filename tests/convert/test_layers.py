"""``fer-edge bench layers``: each quantized layer once, under its own name, and layers left in float."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fer_convert.analysis.experiment import open_experiment
from fer_convert.analysis.layer_errors import analyse
from fer_convert.analysis.mixed_precision import SelectiveQuantizer
from fer_convert.export.tflite import operator_tensors
from fer_edge.errors import InputError
from support.training.mini_run import MiniRun, fer_edge

LAYERS = [
    *("stem", "s0b0_1", "s0b0_2", "s0b0_shortcut", "s0b0_add"),
    *("s1b0_1", "s1b0_2", "s1b0_shortcut", "s1b0_add", "pool", "logits"),
]


@pytest.fixture(scope="module")
def analysed(mini_run: MiniRun, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    out = tmp_path_factory.mktemp("layers")
    done = fer_edge(
        *("bench", "layers", mini_run.run, "--images", "40", "--out", out),
        *("--keep-float", "1", "11", "--float", "logits,pool"),
        data=mini_run.data,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout, out


@pytest.fixture(scope="module")
def report(analysed: tuple[str, Path]) -> dict[str, Any]:
    table: dict[str, Any] = json.loads((analysed[1] / "layers.json").read_text())
    return table


@pytest.mark.slow
def test_each_quantized_layer_is_listed_once_by_its_name(report: dict[str, Any], analysed: tuple[str, Path]) -> None:
    layers = report["layers"]
    assert sorted(layer["layer"] for layer in layers) == sorted(LAYERS)
    in_order = sorted(layers, key=lambda layer: layer["number"])
    assert [layer["number"] for layer in in_order] == list(range(1, len(LAYERS) + 1))
    names = [layer["layer"] for layer in in_order]
    assert (names[0], names[-2:]) == ("stem", ["pool", "logits"])
    assert names.index("s0b0_1") < names.index("s0b0_2") < names.index("s0b0_add") < names.index("s1b0_1")
    kinds = {layer["layer"]: layer["operators"] for layer in layers}
    assert (kinds["stem"], kinds["s0b0_add"], kinds["logits"]) == (["CONV_2D"], ["ADD"], ["FULLY_CONNECTED"])
    # The largest error comes first, also in the table.
    assert [layer["alone"] for layer in layers] == sorted((layer["alone"] for layer in layers), reverse=True)
    shown = [line.split()[0] for line in analysed[0].splitlines() if line.split() and line.split()[0] in LAYERS]
    assert shown == [layer["layer"] for layer in layers]
    picture = cv2.imread(str(analysed[1] / "layers.png"))
    assert picture is not None and picture.std() > 10


@pytest.mark.slow
def test_the_errors_are_those_of_rounding(report: dict[str, Any]) -> None:
    for layer in report["layers"]:
        # The zeros of a ReLU are exact, so the error is below 0.289, or hardly above.
        assert 0.02 < layer["rmse_steps"] < 0.5, layer
        assert abs(layer["mean_steps"]) < 0.3
        assert layer["rmse_steps"] <= layer["max_steps"]
        assert layer["scale"] > 0
        assert 0 < layer["alone"] < 1.5 * report["mixtures"][1]["logit_rmse"]


def test_layers_in_float_lower_the_error_and_cost_bytes(report: dict[str, Any]) -> None:
    float32, int8, worst, everything, named = report["mixtures"]
    assert (float32["name"], float32["logit_rmse"], float32["agreement"]) == ("float32", 0, 1)
    assert (int8["name"], int8["kept"], int8["time_ratio"]) == ("int8", [], 1)
    assert worst["kept"] == [report["layers"][0]["layer"]]
    assert (named["kept"], everything["kept"]) == (["pool", "logits"], float32["kept"])
    assert int8["logit_rmse"] > worst["logit_rmse"] > everything["logit_rmse"] > 0
    assert int8["bytes"] < worst["bytes"] < everything["bytes"]
    assert all(mixture["time_ratio"] > 0 for mixture in report["mixtures"])


def test_an_unknown_layer_is_refused_with_those_there_are(mini_run: MiniRun) -> None:
    experiment = open_experiment(mini_run.run, mini_run.data, 10)
    with pytest.raises(InputError, match=r"layer stern; there are stem, .*s0b0_add, .*logits"):
        analyse(experiment, [], ["stem", "stern"], "PublicTest")


def test_names_that_look_alike_and_a_layer_of_several_operators() -> None:
    """Keras numbers its layers (conv2d, conv2d_1) in the same way as TensorFlow its scopes."""
    import keras

    keras.backend.clear_session()
    random = np.random.default_rng(0)
    pixels = keras.Input((24, 24, 1))
    hidden = keras.layers.Conv2D(4, 3, activation="relu")(pixels)
    hidden = keras.layers.Conv2D(4, 3, activation="relu")(hidden)
    hidden = keras.layers.SeparableConv2D(8, 3, activation="relu")(hidden)
    hidden = keras.layers.GlobalAveragePooling2D()(hidden)
    model = keras.Model(pixels, keras.layers.Dense(7)(hidden))
    images = random.integers(0, 256, (12, 24, 24), dtype=np.uint8)
    images[0], images[1] = 0, 255
    quantizer = SelectiveQuantizer(model, images, images[:3])
    assert quantizer.layers == (*("conv2d", "conv2d_1", "separable_conv2d", "global_average_pooling2d", "dense"),)
    kinds = [operator.kind for operator in quantizer.operators if operator.layer == "separable_conv2d"]
    assert kinds == ["DEPTHWISE_CONV_2D", "CONV_2D"]
    written = [kind for kind, _, _ in operator_tensors(quantizer.export(["separable_conv2d"]))]
    # In float from the depthwise convolution to the pointwise one, without a conversion between the two.
    place = written.index("DEQUANTIZE")
    assert written[place : place + 4] == ["DEQUANTIZE", "DEPTHWISE_CONV_2D", "CONV_2D", "QUANTIZE"]
