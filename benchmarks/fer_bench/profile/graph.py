"""Read the operators and tensors of a ``.tflite`` file. Needs no interpreter and no TensorFlow."""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import ModelError
from fer_edge.model.graph_file import Table, check_graph_file

# https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema/schema.fbs, BuiltinOperator.
OPERATORS = {
    0: "ADD", 1: "AVERAGE_POOL_2D", 2: "CONCATENATION", 3: "CONV_2D", 4: "DEPTHWISE_CONV_2D", 6: "DEQUANTIZE",
    9: "FULLY_CONNECTED", 11: "L2_NORMALIZATION", 14: "LOGISTIC", 17: "MAX_POOL_2D", 18: "MUL", 19: "RELU",
    21: "RELU6", 22: "RESHAPE", 23: "RESIZE_BILINEAR", 25: "SOFTMAX", 28: "TANH", 34: "PAD", 39: "TRANSPOSE",
    40: "MEAN", 41: "SUB", 42: "DIV", 43: "SQUEEZE", 45: "STRIDED_SLICE", 49: "SPLIT", 54: "PRELU", 55: "MAXIMUM",
    57: "MINIMUM", 60: "PADV2", 65: "SLICE", 67: "TRANSPOSE_CONV", 70: "EXPAND_DIMS", 74: "SUM", 76: "RSQRT",
    77: "SHAPE", 82: "REDUCE_MAX", 83: "PACK", 92: "SQUARE", 97: "RESIZE_NEAREST_NEIGHBOR", 98: "LEAKY_RELU",
    99: "SQUARED_DIFFERENCE", 100: "MIRROR_PAD", 102: "SPLIT_V", 111: "ELU", 114: "QUANTIZE", 117: "HARD_SWISH",
}  # fmt: skip
"""Names of the operators that image classifiers are converted to, by their number in the schema."""
_TYPES = {0: ("float32", 4), 1: ("float16", 2), 2: ("int32", 4), 3: ("uint8", 1), 4: ("int64", 8), 6: ("bool", 1),
          7: ("int16", 2), 9: ("int8", 1), 17: ("int4", 1)}  # fmt: skip
"""Names and bytes of the types of tensors, by their number in the schema."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: ``constant`` are weights and biases. ``scales`` is empty if it is not quantized."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    bytes: int
    constant: bool
    scales: tuple[float, ...]
    zero_point: int


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator: its name, and the indices of its tensors; -1 is an input that is left out."""

    name: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Graph:
    """The first subgraph of a file: its tensors, its operators in the order they run, its inputs and outputs."""

    tensors: tuple[Tensor, ...]
    operators: tuple[Operator, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def elements(self, index: int) -> int:
        """Return the number of values of a tensor."""
        return math.prod(self.tensors[index].shape)

    def macs(self, operator: Operator) -> int:
        """Return the multiply-accumulate operations of ``operator``; 0 for one that is not a matrix product."""
        output = math.prod(self.tensors[operator.outputs[0]].shape)
        weights = self.tensors[operator.inputs[1]].shape if len(operator.inputs) > 1 else ()
        match operator.name:
            case "CONV_2D":  # weights: [out, height, width, in]
                return output * math.prod(weights[1:])
            case "DEPTHWISE_CONV_2D":  # [1, height, width, channels]
                return output * math.prod(weights[1:3])
            case "FULLY_CONNECTED":  # [out, in]
                return output * weights[-1]
            case "TRANSPOSE_CONV":  # inputs: shape, weights [out, height, width, in], values
                values = self.tensors[operator.inputs[2]].shape
                return math.prod(values) * math.prod(weights[:3])
        return 0


def read_graph(path: Path) -> Graph:
    """Return the graph of the file at ``path``.

    Raises:
        ModelError: If it cannot be read, is damaged, or has more than one subgraph.
    """
    check_graph_file(path)
    data = path.read_bytes()
    try:
        model = Table(data, struct.unpack_from("<I", data, 0)[0])
        codes = [_operator_name(code) for code in model.tables(1)]
        buffers = [buffer.length(0) or buffer.integer(1, "Q") for buffer in model.tables(4)]
        graphs = model.tables(2)
        if len(graphs) != 1:
            raise ModelError(f"{path}: has {len(graphs)} subgraphs; only models without control flow are supported")
        (graph,) = graphs
        return Graph(
            tuple(_tensor(table, buffers) for table in graph.tables(0)),
            tuple(
                Operator(codes[table.integer(0, "I")], tuple(table.integers(1)), tuple(table.integers(2)))
                for table in graph.tables(3)
            ),
            tuple(graph.integers(1)),
            tuple(graph.integers(2)),
        )
    except (struct.error, IndexError, ValueError) as error:
        raise ModelError(f"{path}: not a usable .tflite model (damaged or truncated?): {error}") from None


def _operator_name(code: Table) -> str:
    # Numbers above 127 are in the field 3 only; older writers fill only the field 0.
    number = max(code.integer(0, "b"), code.integer(3, "i"))
    custom = code.raw(1).decode(errors="replace")
    return f"CUSTOM:{custom}" if custom else OPERATORS.get(number, f"operator {number}")


def _tensor(table: Table, buffers: list[int]) -> Tensor:
    number = table.integer(1, "b")
    dtype, size = _TYPES.get(number, (f"type {number}", 0))
    shape = tuple(table.integers(0))
    quantization = table.table(4)
    scales = tuple(quantization.floats(2)) if quantization else ()
    zero_point = quantization.integers(3, "q")[0] if quantization and scales and quantization.length(3) else 0
    constant = buffers[table.integer(2, "I")] > 0
    return Tensor(table.raw(3).decode(), shape, dtype, size * math.prod(shape), constant, scales, zero_point)
