"""Read the arithmetic and the end of a ``.tflite`` file, and remove its softmax. Does not need TensorFlow."""

from __future__ import annotations

import struct

from fer_edge.errors import ModelError
from fer_edge.model.graph_file import Table

# Numbers of the schema: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/compiler/mlir/lite/schema
_FLOAT32, _UINT8, _INT16, _INT8 = 0, 3, 7, 9
_SOFTMAX = {25: "SOFTMAX", 50: "LOG_SOFTMAX"}
_WITH_BETA = 25
_PASSING = {6, 22, 43, 114}
"""Operators that keep the values: DEQUANTIZE, RESHAPE, SQUEEZE and QUANTIZE."""
_NO_LOGITS = {14: "LOGISTIC", 19: "RELU", 21: "RELU6", 28: "TANH", 56: "ARG_MAX", 98: "LEAKY_RELU", 111: "ELU"}
_WEIGHTED = {3, 4, 9}
"""Convolutions and fully connected layers: their second input holds weights."""


def arithmetic(data: bytes) -> str:
    """Return the variant's name of this file: int8, int16x8, dynamic or float32.

    The first layer with weights decides. Raises ValueError or struct.error for a damaged file.
    """
    model = _model(data)
    codes, graph = _codes(model), model.tables(2)[0]
    kinds = [tensor.integer(1, "b") for tensor in graph.tables(0)]
    for operator in graph.tables(3):
        if codes[operator.integer(0, "I")] in _WEIGHTED:
            values, weights = (kinds[index] for index in operator.integers(1)[:2])
            if values in (_INT8, _UINT8):
                return "int8"
            if values == _INT16:
                return "int16x8"
            return "dynamic" if weights == _INT8 else "float32"
    return "float32"


def without_softmax(data: bytes) -> tuple[bytes, str | None]:
    """Return the file with the softmax's input as its output, and the softmax's name; unchanged if there is none.

    The operator stays in the file, and its result is not used. Raises ModelError for a file that ends in an operator
    whose outputs cannot be logits, ValueError or struct.error for a damaged one.
    """
    model = _model(data)
    codes, graph = _codes(model), model.tables(2)[0]
    (output,) = graph.integers(2)
    made_by = {index: operator for operator in graph.tables(3) for index in operator.integers(2)}
    tensor = output
    while tensor in made_by and codes[made_by[tensor].integer(0, "I")] in _PASSING:
        tensor = made_by.pop(tensor).integers(1)[0]  # pop: a damaged graph may contain a cycle
    if tensor not in made_by:
        return data, None
    last = made_by[tensor]
    code = codes[last.integer(0, "I")]
    if code in _NO_LOGITS:
        raise ModelError(f"ends in {_NO_LOGITS[code]}; wanted logits, or a softmax that can be removed")
    if code not in _SOFTMAX:
        return data, None
    options = last.table(4)
    at = None if options is None or code != _WITH_BETA else options.position(0)
    beta = 1.0 if at is None else struct.unpack_from("<f", data, at)[0]
    if beta != 1.0:
        raise ModelError(f"ends in a softmax with beta {beta:g}; only one with beta 1 can be removed")
    changed, logits = bytearray(data), last.integers(1)[0]
    struct.pack_into("<i", changed, _first_element(data, graph, 2), logits)
    for signature in model.tables(7):
        for result in signature.tables(1):
            position = result.position(1)
            if position is not None and result.integer(1, "I") == output:
                struct.pack_into("<I", changed, position, logits)
    return bytes(changed), _SOFTMAX[code]


def _model(data: bytes) -> Table:
    return Table(data, struct.unpack_from("<I", data, 0)[0])


def _codes(model: Table) -> list[int]:
    # Codes above 127 are in the second field only; old writers fill only the first.
    return [max(code.integer(0, "b"), code.integer(3, "i")) for code in model.tables(1)]


def _first_element(data: bytes, table: Table, field: int) -> int:
    """Return the position of the first element of a vector that exists."""
    position = table.position(field)
    if position is None:
        raise ValueError("a list is left out")
    return position + int(struct.unpack_from("<I", data, position)[0]) + 4
