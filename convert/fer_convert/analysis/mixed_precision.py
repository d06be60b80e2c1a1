"""Exports in mixed precision: some layers int8, some float, by the names of the Keras model.

TensorFlow's quantizer takes a float graph with calibrated ranges, and the names of tensors whose operators it does not
quantize. ``tf.lite.experimental.QuantizationDebugger`` makes that graph and compares each operator with its float form:
https://ai.google.dev/edge/litert/conversion/tensorflow/quantization/quantization_debugger
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
    """A quantized operator: its Keras ``layer``, its ``kind`` and the name of its output ``tensor``.

    The layer of a convolution with folded BatchNorm and ReLU is the convolution.
    """

    layer: str
    kind: str
    tensor: str


class CalibratedGraph:
    """A Keras model as a float graph with calibrated ranges."""

    def __init__(self, model: Any, calibration: UInt8Array, probe: UInt8Array) -> None:
        """Calibrate ``model``.

        Args:
            model: The Keras model.
            calibration: Calibration images, uint8 [N, H, W].
            probe: Images of ``measure``, uint8 [N, H, W].

        Raises:
            ModelError: If TensorFlow cannot convert the model.
        """
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
        """Return the debugger's statistics by tensor: mean, mean square and maximum of the error, and the scale.

        The error is the difference between the quantized and the float operator on the same input, as a mean over the
        images.
        """
        with hidden_stderr():
            self._debugger.run()
        table = io.StringIO()
        self._debugger.layer_statistics_dump(table)
        table.seek(0)
        fields = ("mean_error", "mean_squared_error", "max_abs_error", "scale")
        return {row["tensor_name"]: {name: float(row[name]) for name in fields} for row in csv.DictReader(table)}

    def export(self, kept: Collection[str], *, float_logits: bool) -> bytes:
        """Return a ``.tflite`` file with uint8 input and the layers ``kept`` in float."""
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
    """Exports of one model in mixed precision. With all layers int8, the outputs are those of ``convert``'s int8."""

    def __init__(self, model: Any, calibration: UInt8Array, probe: UInt8Array) -> None:
        """Calibrate ``model`` and measure all operators on ``probe``; arguments as for ``CalibratedGraph``."""
        rounded = round_first_convolution(model, calibration)
        self._rounded = CalibratedGraph(rounded, calibration, probe)
        # If the first convolution is float, it uses its original weights, not those that were rounded for int8.
        first = first_convolution(model)
        self._first = None if first is None else first.name
        self._exact = self._rounded if first is None else CalibratedGraph(model, calibration, probe[:1])
        self.statistics = self._rounded.measure()
        self.operators = tuple(found for found in self._rounded.operators if found.tensor in self.statistics)
        """The quantized operators, in execution order."""

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the quantized layers, in execution order."""
        return tuple(dict.fromkeys(operator.layer for operator in self.operators))

    def export(self, kept: Collection[str], *, float_logits: bool = False) -> bytes:
        """Return the ``.tflite`` file with the layers ``kept`` in float. Raises ModelError.

        The input is uint8, the output int8, or float32 with ``float_logits``, so that logits are not rounded.
        """
        graph = self._exact if self._first in kept else self._rounded
        return graph.export(kept, float_logits=float_logits)


def _numbered(model: Any) -> Any:
    """Return a copy of ``model`` with layer names that can be recognized in TensorFlow's tensor names.

    Keras' own names cannot: the tensors of both ``conv2d`` and ``conv2d_1`` may contain ``conv2d_1``.
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
        # The first of the layers that are folded into the operator. The output of the last operator is "Identity", but
        # its weights have their layer's name.
        numbers = _CODE.findall(";".join(written)) or _CODE.findall(";".join(read))
        yield Operator(layers[min(map(int, numbers))] if numbers else written[0], kind, written[0])
