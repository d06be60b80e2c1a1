"""A model as a TensorFlow graph without variables, cut off before its softmax."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_convert.foreign.float_types import widen
from fer_edge.errors import ModelError

_PASSING = {"Identity", "Cast", "StopGradient"}
"""Operators that hand their input on."""
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
"""Operators that are as pure as the functions that they call, which are looked at too: Keras' grouped convolution."""
_LOOPS = {"While", "StatelessWhile", "If", "StatelessIf", "Case", "StatelessCase"}
_LARGEST_SCALED = 16.0
"""What networks take is of the order of 1; pixels that no one has scaled go to 255."""
_MOST_STEPS = 20
"""Operators that a constant of a scaling may be computed by; Normalization takes six."""


@dataclass(frozen=True, slots=True, eq=False)
class FrozenGraph:
    """``definition`` (a GraphDef) from the tensor named ``input`` to that named ``output``, one row of logits.

    ``shape`` is (height, width, channels) of its input. ``softmax`` is the operator that stood behind ``output``, None
    where there was none; ``precision`` the narrowest float that the model computed in, where the graph has float32.
    """

    definition: Any
    input: str
    output: str
    shape: tuple[int, int, int]
    softmax: str | None
    precision: str = "float32"

    def __call__(self, x: Any) -> Any:
        """Logits float32 [N, labels] for what the model takes, float32 [N, H, W, C], in the graph being built."""
        import tensorflow as tf

        (logits,) = tf.graph_util.import_graph_def(
            self.definition, input_map={self.input: x}, return_elements=[self.output], name=""
        )
        return tf.cast(logits, tf.float32)

    def count(self) -> tuple[int, int]:
        """Weights, and multiply-accumulates of one image."""
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
    """The graph of a concrete function with one input [N, *shape] and one output [N, labels].

    Raises ModelError for one that reads or writes outside of itself, or that ends in what gives no logits.
    """
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    _check_writes_nothing(function)
    # Loops stay operators, so that they are seen.
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
        raise ModelError(f"ends in {last.type}; wanted logits, or a softmax that can be left out")
    softmax = last.type if last.type in ("Softmax", "LogSoftmax") else None
    output = last.inputs[0].name if softmax else frozen.outputs[0].name
    return FrozenGraph(definition, given[0].name, output, shape, softmax, precision)


def nodes_of(definition: Any) -> Iterator[Any]:
    """Every node of a GraphDef, those of its functions too."""
    yield from definition.node
    for function in definition.library.function:
        yield from function.node_def


def _check_writes_nothing(function: Any) -> None:
    """Refuse variables that are written: they cannot become constants."""
    written = {node.op for node in nodes_of(function.graph.as_graph_def()) if node.op.startswith("Assign")}
    if written:
        raise ModelError(
            f"holds the operator {min(written)}: it changes itself whenever it answers, as random layers (RandomFlip, "
            "RandomRotation) do in an exported model: export it without them"
        )


def _check_pure(definition: Any) -> None:
    """Refuse operators with effects, since a graph can read files and write them, and weights that are integers."""
    import tensorflow as tf
    from tensorflow.python.framework import op_def_registry

    integers = {dtype.as_datatype_enum for dtype in (tf.int8, tf.uint8, tf.int16, tf.int32)}
    for node in nodes_of(definition):
        known = op_def_registry.get(node.op)
        if node.op in _LOOPS:
            raise ModelError(
                f"holds a loop or a branch ({node.op}), as recurrent layers such as LSTM and GRU have, which is not "
                "supported: it cannot be made of 8-bit integers"
            )
        if known is not None and known.is_stateful and node.op not in _CALLS:
            raise ModelError(f"holds the operator {node.op}, which depends on or changes more than its input")
        if node.op in _MULTIPLYING and node.attr[_MULTIPLYING[node.op]].type in integers:
            raise ModelError(
                "is quantized already: it multiplies integers; bring the model as it was before (before model.quantize)"
            )


def _remove_control_edges(definition: Any) -> None:
    """Remove the inputs that only order operators, since none has effects: constants depend on the image by them.

    Not in functions: TensorFlow refuses two that have one name and differ.
    """
    for node in definition.node:
        data = [name for name in node.input if not name.startswith("^")]
        del node.input[:]
        node.input.extend(data)


def own_scaling(graph: FrozenGraph) -> tuple[float, float] | None:
    """What pixels of 0..255 have become behind the scaling that a graph begins with; None where it has none.

    None, too, where the result is no range that a network takes: then the scaling is not of pixels 0..255.
    """
    values, scaled = _follow(graph, np.array([[0.0], [255.0]]))
    if not scaled or np.abs(values).max() > _LARGEST_SCALED:
        return None
    return float(values.min()), float(values.max())


def scaled_twice(graph: FrozenGraph, low: float, high: float) -> bool:
    """Whether the scaling that a graph begins with leaves next to nothing of ``low``..``high``."""
    values, scaled = _follow(graph, np.array([[low], [high]]))
    return scaled and float(np.ptp(values)) < 0.05


def _follow(graph: FrozenGraph, values: Any) -> tuple[Any, bool]:
    """``values`` [2, 1] as they leave the first operators, while these scale or shift; whether any did."""
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
    """The few values of a tensor that no input has a part in, as float64 [1, K]; None for anything else."""
    import tensorflow as tf

    if tensor.shape.num_elements() not in (1, 2, 3):
        return None
    waiting, seen = [tensor.op], set()
    while waiting:
        op = waiting.pop()
        seen.add(op.name)
        if op.type == "Placeholder" or len(seen) > _MOST_STEPS:
            return None
        waiting += [given.op for given in op.inputs if given.op.name not in seen]
    with tf.compat.v1.Session(graph=tensor.graph) as session:
        value = session.run(tensor)
    if not np.issubdtype(np.asarray(value).dtype, np.floating):
        return None
    return np.asarray(value, np.float64).reshape(1, -1)


_MULTIPLYING = {"Conv2D": "T", "DepthwiseConv2dNative": "T", "MatMul": "T", "BatchMatMulV2": "T", "BatchMatMulV3": "Ta"}
"""Operators with weights, and the attribute that tells the type of what they multiply."""


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
