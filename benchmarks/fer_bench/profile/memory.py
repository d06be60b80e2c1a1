"""How long each activation of a model lives, and how much memory the living ones take."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from fer_bench.profile.graph import Graph


@dataclass(frozen=True, slots=True)
class Lifetime:
    """An activation: the index of its tensor, and its first and last use as numbers of operators, from 1.

    The model's input is used from 0 on, its output until the last operator.
    """

    tensor: int
    first: int
    last: int


def lifetimes(graph: Graph) -> tuple[Lifetime, ...]:
    """Return the lifetime of each activation, in the order of their tensors."""
    first = dict.fromkeys(graph.inputs, 0)
    last = dict.fromkeys(graph.inputs, 0)
    for number, operator in enumerate(graph.operators, start=1):
        for index in operator.outputs:
            first.setdefault(index, number)
        for index in (*operator.inputs, *operator.outputs):
            last[index] = number
    for index in graph.outputs:
        last[index] = len(graph.operators)
    return tuple(
        Lifetime(index, first[index], last[index]) for index in sorted(first) if not graph.tensors[index].constant
    )


def live_bytes(graph: Graph, constant: Collection[int] = ()) -> tuple[int, ...]:
    """Return, for each operator, the bytes of the activations that exist while it runs, without those of ``constant``.

    The maximum is what every runtime needs at least; one that packs activations badly needs more.
    """
    living = [one for one in lifetimes(graph) if one.tensor not in constant]
    return tuple(
        sum(graph.tensors[one.tensor].bytes for one in living if one.first <= number <= one.last)
        for number in range(1, len(graph.operators) + 1)
    )
