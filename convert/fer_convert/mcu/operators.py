"""The operators of TFLM, by which a model registers what it needs."""

from __future__ import annotations

from fer_bench.profile.graph import OPERATORS, Graph
from fer_edge.errors import ModelError

_IRREGULAR = {"PADV2": "PadV2"}


def resolver_calls(graph: Graph) -> tuple[str, ...]:
    """Return the methods of ``tflite::MicroMutableOpResolver`` that register the operators of ``graph``, sorted.

    Raises:
        ModelError: If it has operators that TFLM does not have.
    """
    used = {operator.name for operator in graph.operators}
    unknown = sorted(used - set(OPERATORS.values()))
    if unknown:
        raise ModelError(f"TensorFlow Lite Micro does not have {', '.join(unknown)}; remove it from the network")
    return tuple(sorted(_method(name) for name in used))


def _method(name: str) -> str:
    """Return the method for an operator: CONV_2D is registered by AddConv2D."""
    words = (word.upper() if word[:1].isdigit() else word.capitalize() for word in name.split("_"))
    return f"Add{_IRREGULAR.get(name, ''.join(words))}"
