"""int8 with chosen layers left in float, and the names of the layers: the Keras model's own.

TensorFlow's quantizer takes a float graph that holds the calibrated ranges, and the names of tensors whose operators
it is to leave alone. ``tf.lite.experimental.QuantizationDebugger`` makes that graph and compares each operator with
its float form: https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_debugger
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_convert.export.tflite import make_converter, operator_tensors
from fer_convert.export.variants import VARIANTS
from fer_convert.quantization.rounding import first_convolution, round_first_convolution
from fer_edge.errors import ModelError
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

_CODE = re.compile(r"layer(\d+)x")


@dataclass(frozen=True, slots=True)
class Operator:
    """A quantized operator: the Keras ``layer`` it belongs to, its ``kind`` and the name of the ``tensor`` it writes.

    A convolution bears the convolution's name, although BatchNorm and ReLU are folded into it.
    """

    layer: str
    kind: str
    tensor: str


class CalibratedGraph:
    """A Keras model as a float graph with calibrated ranges."""

    def __init__(self, model: Any, calibration: UInt8Array, probe: UInt8Array) -> None:
        """Calibrate on ``calibration``; ``measure`` compares on ``probe``, both uint8 [N, H, W]. Raises ModelError."""
        import tensorflow as tf

        names = [layer.name for layer in model.layers]
        converter = make_converter(_numbered(model))
        VARIANTS["int8"].configure(converter, calibration)

        def probe_dataset() -> Iterator[list[Any]]:
            for image in probe:
                yield [image[np.newaxis, :, :, np.newaxis].astype(np.float32)]

        try:
            with hidden_stderr():
                self._debugger = tf.lite.experimental.QuantizationDebugger(
                    converter=converter, debug_dataset=probe_dataset
                )
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"the quantization debugger failed: {' '.join(str(error).split())[:300]}") from error
        self.operators = tuple(_operators(self._debugger.calibrated_model, names))

    def measure(self) -> dict[str, dict[str, float]]:
        """By tensor: the debugger's ``mean_error``, ``mean_squared_error``, ``max_abs_error`` and ``scale``.

        The error is of the quantized operator less the float one on the same input, a mean over the images.
        """
        with hidden_stderr():
            self._debugger.run()
        table = io.StringIO()
        self._debugger.layer_statistics_dump(table)
        table.seek(0)
        fields = ("mean_error", "mean_squared_error", "max_abs_error", "scale")
        return {row["tensor_name"]: {name: float(row[name]) for name in fields} for row in csv.DictReader(table)}

    def export(self, kept: Collection[str], *, float_logits: bool) -> bytes:
        """The ``.tflite`` file, uint8 pixels in, whose layers of the names ``kept`` compute in float."""
        import tensorflow as tf
        from tensorflow.lite.python.convert import mlir_quantize
        from tensorflow.lite.python.convert_phase import ConverterError

        tensors = [operator.tensor for operator in self.operators if operator.layer in kept]
        try:
            with hidden_stderr():
                return bytes(
                    mlir_quantize(
                        self._debugger.calibrated_model,
                        input_data_type=tf.uint8,
                        output_data_type=tf.float32 if float_logits else tf.int8,
                        denylisted_nodes=tensors,
                    )
                )
        except (ConverterError, ValueError, RuntimeError) as error:
            raise ModelError(f"the quantizer failed: {' '.join(str(error).split())[:300]}") from error


class SelectiveQuantizer:
    """Exports of one model, some layers int8 and some float; all int8, it answers as ``convert``'s int8 does."""

    def __init__(self, model: Any, calibration: UInt8Array, probe: UInt8Array) -> None:
        """``calibration`` and ``probe`` are uint8 [N, H, W]; the debugger compares on ``probe``. Raises ModelError."""
        rounded = round_first_convolution(model, calibration)
        self._rounded = CalibratedGraph(rounded, calibration, probe)
        # In float, the first convolution is to have its own weights, not those that were rounded for int8.
        first = first_convolution(model)
        self._first = None if first is None else first.name
        self._exact = self._rounded if first is None else CalibratedGraph(model, calibration, probe[:1])
        self.statistics = self._rounded.measure()
        self.operators = tuple(found for found in self._rounded.operators if found.tensor in self.statistics)
        """Those that are quantized, in the order they run."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the quantized layers, in the order they run."""
        return tuple(dict.fromkeys(operator.layer for operator in self.operators))

    def export(self, kept: Collection[str], *, float_logits: bool = False) -> bytes:
        """The ``.tflite`` file whose layers of the names ``kept`` compute in float. Raises ModelError.

        It takes uint8 pixels and gives int8 logits; float32 ones with ``float_logits``, so that they are not rounded.
        """
        graph = self._exact if self._first in kept else self._rounded
        return graph.export(kept, float_logits=float_logits)


def _numbered(model: Any) -> Any:
    """A copy of ``model`` whose layers' names can be told again from what TensorFlow makes of them.

    It numbers scopes as Keras numbers layers: the tensors of ``conv2d`` and of ``conv2d_1`` may both say ``conv2d_1``.
    """
    import keras

    codes = {layer.name: f"layer{number}x" for number, layer in enumerate(model.layers)}

    def rename(layer: Any) -> Any:
        return layer.__class__.from_config({**layer.get_config(), "name": codes[layer.name]})

    copy = keras.models.clone_model(model, clone_function=rename)
    copy.set_weights(model.get_weights())
    return copy


def _operators(graph: bytes, layers: list[str]) -> Iterator[Operator]:
    for kind, written, read in operator_tensors(graph):
        # Of the layers folded into one operator, the first. The last operator writes "Identity", but its weights still
        # bear their layer's name.
        numbers = _CODE.findall(";".join(written)) or _CODE.findall(";".join(read))
        yield Operator(layers[min(map(int, numbers))] if numbers else written[0], kind, written[0])
