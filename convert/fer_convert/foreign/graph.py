"""A foreign model as a TensorFlow graph without variables and without its softmax."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_convert.foreign.float_types import widen
from fer_edge.errors import ModelError

_PASSING = {"Identity", "Cast", "StopGradient"}
"""Operators that return their input."""
_SCALING = {
    "Mul": np.multiply,
    "RealDiv": np.divide,
    "Sub": np.subtract,
    "AddV2": np.add,
    "Add": np.add,
    "BiasAdd": np.add,
}
_REFUSED_ENDS = {"Sigmoid", "Relu", "Relu6", "LeakyRelu", "Tanh", "Elu", "Selu", "Softplus", "ArgMax", "TopKV2"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
"""Calls of functions, such as Keras' grouped convolution. The functions are checked too."""
_LOOPS = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}
_MAX_SCALED = 16.0
"""Scaled pixels are of the order of 1; unscaled ones go up to 255."""
_MAX_STEPS = 20
"""Maximum number of operators that compute a constant of the scaling; Normalization needs six."""


@dataclass(frozen=True, slots=True, eq=False)
class FrozenGraph:
    """A graph without variables that returns logits.

    Attributes:
        definition: The GraphDef.
        input: Name of the input tensor.
        output: Name of the tensor of logits.
        shape: Height, width and channels of the input.
        softmax: The removed operator after ``output``, or None.
        precision: The coarsest float type of the original model; the graph has float32.
    """

    definition: Any
    input: str
    output: str
    shape: tuple[int, int, int]
    softmax: str | None
    precision: str = "float32"

    def __call__(self, x: Any) -> Any:
        """Add the graph to the one being built. Input: float32 [N, H, W, C]; returns logits, float32 [N, labels]."""
        import tensorflow as tf

        (logits,) = tf.graph_util.import_graph_def(
            self.definition, input_map={self.input: x}, return_elements=[self.output], name=""
        )
        return tf.cast(logits, tf.float32)

    def count(self) -> tuple[int, int]:
        """Return the number of weights, and of multiply-accumulates per image."""
        import tensorflow as tf

        with tf.Graph().as_default() as graph:
            self(tf.compat.v1.placeholder(tf.float32, (1, *self.shape)))
        operations = graph.get_operations()
        params = sum(
            math.prod(op.outputs[0].shape)
            for op in operations
            if op.type == "Const" and op.outputs[0].dtype.is_floating and op.outputs[0].shape.rank
        )
        return params, sum(map(_macs, operations))


def freeze(function: Any, shape: tuple[int, int, int]) -> FrozenGraph:
    """Return the graph of a concrete function with one input [N, *shape] and one output [N, labels].

    Raises:
        ModelError: If it has side effects, loops or integer weights, or does not end in logits or a softmax.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    _check_writes_nothing(function)
    # Loops stay operators, so they can be detected.
    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    definition = frozen.graph.as_graph_def()
    _check_pure(definition)
    _remove_control_edges(definition)
    precision = widen(definition)
    given = [tensor for tensor in frozen.inputs if tensor.dtype.name != "resource"]
    last = frozen.outputs[0].op
    while last.type in _PASSING:
        last = last.inputs[0].op
    if last.type in _REFUSED_ENDS:
        raise ModelError(f"ends in {last.type}; wanted logits, or a softmax that can be removed")
    softmax = last.type if last.type in ("Softmax", "LogSoftmax") else None
    output = last.inputs[0].name if softmax else frozen.outputs[0].name
    return FrozenGraph(definition, given[0].name, output, shape, softmax, precision)


def nodes_of(definition: Any) -> Iterator[Any]:
    """Yield all nodes of a GraphDef and of its functions."""
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _check_writes_nothing(function: Any) -> None:
    """Refuse a function that writes variables: they cannot become constants."""
    written = {node.op for node in nodes_of(function.graph.as_graph_def()) if node.op.startswith("Assign")}
    if written:
        raise ModelError(
            f"contains the operator {min(written)}: each call changes its state, as with random layers (RandomFlip, "
            "RandomRotation) in an exported model: export it without them"
        )


def _check_pure(definition: Any) -> None:
    """Refuse operators with side effects, since a graph can read and write files, and integer weights."""
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    integers = {dtype.as_datatype_enum for dtype in (tf.int8, tf.uint8, tf.int16, tf.int32)}
    for node in nodes_of(definition):
        known = op_def_registry.get(node.op)
        if node.op in _LOOPS:
            raise ModelError(
                f"contains a loop or a branch ({node.op}), as in recurrent layers such as LSTM and GRU, which is not "
                "supported: it cannot be quantized to 8-bit integers"
            )
        if known is not None and known.is_stateful and node.op not in _CALLS:
            raise ModelError(
                f"contains the operator {node.op}, which has side effects or depends on more than its input"
            )
        if node.op in _MULTIPLYING and node.attr[_MULTIPLYING[node.op]].type in integers:
            raise ModelError(
                "is quantized already: it multiplies integers; convert the float model (before model.quantize)"
            )


def _remove_control_edges(definition: Any) -> None:
    """Remove inputs that only order operators: none has side effects, and they make constants depend on the image.

    Functions are unchanged: TensorFlow refuses different functions of the same name.
    """
    for node in definition.node:
        data = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data)


def own_scaling(graph: FrozenGraph) -> tuple[float, float] | None:
    """Return the range of pixels 0..255 after the scaling at the start of a graph.

    None if the graph has no scaling, or if the result is too large for a network, so the scaling expects another range.
    """
    values, scaled = _follow(graph, np.array([[0.0], [255.0]]))
    if not scaled or np.abs(values).max() > _MAX_SCALED:
        return None
    return float(values.min()), float(values.max())


def scaled_twice(graph: FrozenGraph, low: float, high: float) -> bool:
    """Return whether the scaling at the start of a graph reduces ``low``..``high`` to almost a constant."""
    values, scaled = _follow(graph, np.array([[low], [high]]))
    return scaled and float(np.ptp(values)) < 0.05


def _follow(graph: FrozenGraph, values: Any) -> tuple[Any, bool]:
    """Apply the scaling at the start of a graph to ``values`` [2, 1]. Returns them, and whether there is a scaling."""
    import tensorflow as tf

    with tf.Graph().as_default() as imported:
        tf.graph_util.import_graph_def(graph.definition, name="")
    tensor, scaled = imported.get_tensor_by_name(graph.input), False
    while len(tensor.consumers()) == 1:
        op = tensor.consumers()[0]
        if op.type not in _PASSING:
            constants = [_constant(other) for other in op.inputs if other is not tensor]
            known = op.type in _SCALING and len(constants) == 1 and constants[0] is not None
            if not known or (op.inputs[0] is not tensor and op.type in ("Sub", "RealDiv")):
                break
            values, scaled = _SCALING[op.type](values, constants[0]), True
        tensor = op.outputs[0]
    return values, scaled


def _constant(tensor: Any) -> Any:
    """Return the 1 to 3 values of a tensor that does not depend on the input, float64 [1, K]; None for others."""
    import tensorflow as tf

    if tensor.shape.num_elements() not in (1, 2, 3):
        return None
    waiting, seen = [tensor.op], set()
    while waiting:
        op = waiting.pop()
        seen.add(op.name)
        if op.type == "Placeholder" or len(seen) > _MAX_STEPS:
            return None
        waiting += [given.op for given in op.inputs if given.op.name not in seen]
    with tf.compat.v1.Session(graph=tensor.graph) as session:
        value = session.run(tensor)
    if not np.issubdtype(np.asarray(value).dtype, np.floating):
        return None
    return np.asarray(value, np.float64).reshape(1, -1)


_MULTIPLYING = {"Conv2D": "T", "DepthwiseConv2dNative": "T", "MatMul": "T", "BatchMatMulV2": "T", "BatchMatMulV3": "Ta"}
"""Operators with weights, and the attribute with the type of their factors."""


def _macs(op: Any) -> int:
    if op.type not in _MULTIPLYING or not op.outputs[0].shape.is_fully_defined():
        return 0
    if op.type in ("Conv2D", "DepthwiseConv2dNative"):
        return int(math.prod(op.inputs[1].shape) * math.prod(op.outputs[0].shape[1:3]))
    if op.type in ("MatMul", "BatchMatMulV2"):
        inner = op.inputs[0].shape[-2 if op.get_attr(_TRANSPOSED[op.type]) else -1]
        return int(math.prod(op.outputs[0].shape) * inner)
    return 0


_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
