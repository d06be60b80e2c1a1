"""What each layer of a ``.tflite`` model costs without running it: weights, operations, memory."""

from __future__ import annotations

import re
from dataclasses import dataclass

from fer_bench.profile.graph import Graph, Operator
from fer_bench.profile.memory import live_bytes

_MATRIX = re.compile(r"/(convolution|depthwise|separable_conv\w*|conv\w*|MatMul)\d*$", re.IGNORECASE)
"""The end of the names that TensorFlow gives to the tensors of convolutions and dense layers."""


@dataclass(frozen=True, slots=True)
class Layer:
    """An operator that depends on the input: its ``number`` in the file, from 1, and what it costs."""

    number: int
    name: str
    operator: Operator
    weights: tuple[int, ...]
    """Indices of the tensors of weights and biases, as stored in the file."""
    parameters: int
    weight_bytes: int
    moved_bytes: int
    live_bytes: int


def layers_of(graph: Graph) -> tuple[Layer, ...]:
    """Return the layers. An operator on constants alone, such as DEQUANTIZE of float16 weights, is part of its user."""
    sources = _sources(graph)
    live = live_bytes(graph, sources.keys())
    found = []
    for number, operator in enumerate(graph.operators, start=1):
        if operator.outputs and all(index in sources for index in operator.outputs):
            continue
        stored = {source for index in operator.inputs if index >= 0 for source in sources.get(index, ())}
        weights = tuple(sorted(index for index in stored if _is_weight(graph, index)))
        weight_bytes = sum(graph.tensors[index].bytes for index in weights)
        activations = {index for index in operator.inputs if index >= 0 and index not in sources} | {*operator.outputs}
        found.append(
            Layer(
                number=number,
                name=layer_name(graph, operator),
                operator=operator,
                weights=weights,
                parameters=sum(graph.elements(index) for index in weights),
                weight_bytes=weight_bytes,
                moved_bytes=weight_bytes + sum(graph.tensors[index].bytes for index in activations),
                live_bytes=live[number - 1],
            )
        )
    return tuple(found)


def cut_outputs(graph: Graph, number: int) -> tuple[int, ...]:
    """Return what a model of the first ``number`` operators must return, so that none of them is left out.

    Those are the tensors that later operators or the model's outputs need, except those that are constant.
    """
    constant = _sources(graph)
    later = {index for operator in graph.operators[number:] for index in operator.inputs} | set(graph.outputs)
    made = (index for operator in graph.operators[:number] for index in operator.outputs)
    return tuple(index for index in made if index in later and index not in constant)


def layer_name(graph: Graph, operator: Operator) -> str:
    """Return the name of the Keras layer, as far as TensorFlow's name of the tensor contains it."""
    tensor = graph.tensors[operator.outputs[0]].name
    names = tensor.split(";")
    chosen = next((name for name in names if _MATRIX.search(name)), names[-1])
    if "/" not in chosen and len(operator.inputs) > 1 and operator.inputs[1] >= 0:  # an output: Identity
        weights = graph.tensors[operator.inputs[1]].name.split(";")[0]
        chosen = weights if _MATRIX.search(weights) else chosen
    root, *middle, _ = ["", *chosen.split("/")] if chosen.count("/") < 2 else chosen.split("/")
    name = middle[-1] if middle else chosen
    # Keras 3 numbers the calls of a model, and appends the number to the names of its layers.
    call = re.search(r"_\d+$", root)
    return (name.removesuffix(call[0]) if call else name) or operator.name.lower()


def _sources(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Return the stored constants from which each constant tensor is computed."""
    sources: dict[int, tuple[int, ...]] = {
        index: (index,) for index, tensor in enumerate(graph.tensors) if tensor.constant
    }
    for operator in graph.operators:
        inputs = [index for index in operator.inputs if index >= 0]
        if inputs and all(index in sources for index in inputs):
            stored = tuple(source for index in inputs for source in sources[index])
            sources.update(dict.fromkeys(operator.outputs, stored))
    return sources


def _is_weight(graph: Graph, index: int) -> bool:
    """Return whether a constant is a weight or bias: others are shapes and axes, integers without a scale."""
    tensor = graph.tensors[index]
    return bool(tensor.scales) or tensor.dtype.startswith("float")
