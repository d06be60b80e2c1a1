"""The layers of real models: what they cost, truncated copies, and how their times are shown."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from fer_bench.profile.costs import cut_outputs, layers_of
from fer_bench.profile.graph import read_graph
from fer_bench.profile.measure import Subject, profile
from fer_bench.profile.memory import live_bytes
from fer_bench.profile.roof import large_convolution
from fer_bench.profile.text import share
from fer_bench.profile.timing import choose_cuts, time_layers
from fer_bench.profile.truncation import truncate
from fer_bench.results.profile import LayerTime, Roof
from fer_edge.model.manifest import read_manifest

MODELS = Path(__file__).parents[3] / "models"
SMALL, LARGE = MODELS / "fer-edge-xs", MODELS / "fer-edge-s"
_REFERENCE = OpResolverType.BUILTIN_REF


def test_the_layers_have_the_names_of_keras_and_add_up_to_the_manifest() -> None:
    graph = read_graph(SMALL / "int8.tflite")
    layers = layers_of(graph)
    names = [layer.name for layer in layers]
    assert names[:4] == ["tfl.quantize", "stem", "s0b0_expand", "s0b0_depth"]
    assert names[-2:] == ["pool", "logits"]
    assert len(set(names)) == len(names) == len(graph.operators)
    training = read_manifest(SMALL).training
    assert sum(graph.macs(layer.operator) for layer in layers) == training["macs"]
    stem = layers[1]
    kernel = graph.tensors[stem.operator.inputs[1]]
    channels = kernel.shape[0]
    assert stem.parameters == 9 * channels + channels
    assert stem.weight_bytes == 9 * channels + 4 * channels  # int8 weights, int32 biases
    assert stem.moved_bytes == stem.weight_bytes + 48 * 48 + 24 * 24 * channels  # stride 2


def test_float16_weights_belong_to_the_layer_that_uses_them() -> None:
    half, single = (read_graph(LARGE / f"{name}.tflite") for name in ("float16", "float32"))
    assert len(half.operators) > len(single.operators)  # DEQUANTIZE
    pairs = list(zip(layers_of(half), layers_of(single), strict=True))
    assert [a.name for a, _ in pairs] == [b.name for _, b in pairs]
    assert all(a.parameters == b.parameters and 2 * a.weight_bytes == b.weight_bytes for a, b in pairs)
    assert [a.live_bytes for a, _ in pairs] == [b.live_bytes for _, b in pairs]


def test_activations_that_a_shortcut_needs_stay_alive() -> None:
    graph = read_graph(LARGE / "int8.tflite")
    live = dict(zip((layer.name for layer in layers_of(graph)), live_bytes(graph), strict=True))
    assert live["stem"] == 48 * 48 * (1 + 16)
    # While s0b0_2 runs: its input and output, and the output of the stem for the shortcut.
    assert live["s0b0_2"] == max(live.values()) == 24 * 24 * 32 * 2 + 48 * 48 * 16
    assert live["logits"] == 128 + 7


@pytest.mark.parametrize("path", [SMALL / "int8.tflite", LARGE / "float16.tflite"], ids=["int8", "float16"])
def test_a_truncated_model_computes_what_the_whole_model_computes_up_to_there(path: Path) -> None:
    graph, content = read_graph(path), path.read_bytes()
    image = np.random.default_rng(1).integers(0, 256, (1, 48, 48, 1))
    # Reference kernels: XNNPACK does not keep the tensors inside of what it runs.
    whole = Interpreter(
        model_content=content, experimental_preserve_all_tensors=True, experimental_op_resolver_type=_REFERENCE
    )
    _invoke(whole, image)
    for layer in layers_of(graph):
        wanted = cut_outputs(graph, layer.number)
        part = Interpreter(
            model_content=truncate(content, layer.number, wanted), experimental_op_resolver_type=_REFERENCE
        )
        _invoke(part, image)
        assert [each["index"] for each in part.get_output_details()] == list(wanted)
        for index in wanted:
            np.testing.assert_array_equal(part.get_tensor(index), whole.get_tensor(index))


def _invoke(interpreter: Interpreter, image: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    interpreter.allocate_tensors()
    (details,) = interpreter.get_input_details()
    interpreter.set_tensor(details["index"], image.astype(details["dtype"]))
    interpreter.invoke()


def test_a_large_file_is_cut_at_fewer_places() -> None:
    graph = read_graph(LARGE / "int8.tflite")
    layers = layers_of(graph)
    assert choose_cuts(graph, layers, 1_000_000) == list(range(len(layers)))
    few = choose_cuts(graph, layers, 40_000_000)
    assert few == sorted(set(few)) and len(few) == 4 and few[-1] == len(layers) - 1


def test_layers_that_are_timed_as_one_share_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fer_bench.profile.timing._MAX_MODELS", 4)
    path = SMALL / "int8.tflite"
    graph = read_graph(path)
    layers = layers_of(graph)
    times = time_layers(path.read_bytes(), graph, layers, range(2), "small")
    measured = [time for time in times.layers if time is not None]
    assert len(measured) == 4
    assert sum(time.layers for time in measured) == len(layers)
    assert times.layers[-1] is not None


def test_the_times_add_up_to_the_time_of_the_model() -> None:
    path = LARGE / "int8.tflite"
    found = profile(Subject("large", "int8", path), range(7))
    total = sum(layer.time.us for layer in found.layers if layer.time is not None)
    assert total == pytest.approx(found.time_us, rel=0.5)  # medians of differences under load; exact without noise
    # A convolution of 5.3 million MACs takes longer than an addition; both in microseconds.
    by_name = {layer.layer: layer for layer in found.layers}
    convolution, addition = by_name["s0b0_2"].time, by_name["s0b0_add"].time
    assert convolution is not None and addition is not None and convolution.us > addition.us


def test_a_share_below_noise_is_shown_as_a_limit() -> None:
    assert share(LayerTime(us=100.0, noise_us=1.0), 1000.0) == "10.0"
    assert share(LayerTime(us=2.0, noise_us=4.0), 1000.0) == "<1.0"
    assert share(LayerTime(us=-5.0, noise_us=4.0), 1000.0) == "<0.8"
    assert share(LayerTime(us=0.0, noise_us=0.0), 1000.0) == "<0.1"
    assert share(None, 1000.0) == "↓"


def test_the_model_that_measures_the_peak_has_its_macs(tmp_path: Path) -> None:
    path = tmp_path / "peak.tflite"
    path.write_bytes(large_convolution(8, 3, 16))
    graph = read_graph(path)
    (layer,) = layers_of(graph)
    assert graph.macs(layer.operator) == 8 * 8 * 3 * 3 * 16 * 16
    assert {tensor.dtype for tensor in graph.tensors} == {"int8", "int32"}


def test_the_roof_is_the_lower_of_both_limits() -> None:
    roof = Roof(int8_macs_per_s=40e9, copied_bytes_per_s=8e9)
    assert (roof.attainable(2.0), roof.attainable(5.0), roof.attainable(50.0)) == (16e9, 40e9, 40e9)
