"""A model as a TensorFlow graph without variables, cut off before its softmax."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

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
_REFUSED_ENDS = {"Sigmoid", "Relu", "Relu6", "Tanh", "Elu", "Selu", "Softplus", "ArgMax", "TopKV2"}
_LARGEST_SCALED = 16.0
"""What networks take is of the order of 1; pixels that no one has scaled go to 255."""


@dataclass(frozen=True, slots=True, eq=False)
class FrozenGraph:
    """``definition`` (a GraphDef) from the tensor named ``input`` to that named ``output``, one row of logits.

    ``shape`` is (height, width, channels) of its input. ``softmax`` is the operator that stood behind ``output``, None
    where there was none.
    """

    definition: Any
    input: str
    output: str
    shape: tuple[int, int, int]
    softmax: str | None

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

    frozen = convert_variables_to_constants_v2(function)
    definition = frozen.graph.as_graph_def()
    _check_pure(definition)
    given = [tensor for tensor in frozen.inputs if tensor.dtype.name != "resource"]
    last = frozen.outputs[0].op
    while last.type in _PASSING:
        last = last.inputs[0].op
    if last.type in _REFUSED_ENDS:
        raise ModelError(f"ends in {last.type}; wanted logits, or a softmax that can be left out")
    softmax = last.type if last.type in ("Softmax", "LogSoftmax") else None
    output = last.inputs[0].name if softmax else frozen.outputs[0].name
    return FrozenGraph(definition, given[0].name, output, shape, softmax)


def _check_pure(definition: Any) -> None:
    """Refuse operators with effects: a graph can read files, and write them."""
    from tensorflow.python.framework import op_def_registry

    nodes = [*definition.node, *(node for function in definition.library.function for node in function.node_def)]
    for node in nodes:
        known = op_def_registry.get(node.op)
        if known is not None and known.is_stateful:
            raise ModelError(f"holds the operator {node.op}, which depends on or changes more than its input")


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
    """The few values of a constant as float64 [1, K]; None for anything else."""
    import tensorflow as tf

    while tensor.op.type in _PASSING:
        tensor = tensor.op.inputs[0]
    value = tf.get_static_value(tensor)
    if value is None or np.size(value) > 3 or not np.issubdtype(np.asarray(value).dtype, np.floating):
        return None
    return np.asarray(value, np.float64).reshape(1, -1)


def _macs(op: Any) -> int:
    if op.type in ("Conv2D", "DepthwiseConv2dNative"):
        return int(math.prod(op.inputs[1].shape) * math.prod(op.outputs[0].shape[1:3]))
    if op.type in ("MatMul", "BatchMatMulV2"):
        inner = op.inputs[0].shape[-2 if op.get_attr(_TRANSPOSED[op.type]) else -1]
        return int(math.prod(op.outputs[0].shape) * inner)
    return 0


_TRANSPOSED = {"MatMul": "transpose_a", "BatchMatMulV2": "adj_x"}
