"""Time the layers of a model: truncated copies of it run alternately, and a layer's time is a difference.

The wheel of LiteRT has no operator profiler. In each round, every truncated model runs a few times, and the fastest run
counts. The difference between neighbours is taken within a round, so that a machine that slows down between rounds
changes both. The time of a layer is the median of its differences over all rounds.
"""

from __future__ import annotations

import contextlib
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from fer_bench.profile.costs import Layer, cut_outputs
from fer_bench.profile.graph import Graph
from fer_bench.profile.interpreter import BareModel
from fer_bench.profile.truncation import truncate
from fer_bench.results.profile import LayerTime

METHOD = (
    "differences between truncated copies of the model, run alternately on LiteRT with XNNPACK and one thread; the"
    " runtime's Python package has no operator profiler"
)
_MAX_MODELS, _MIN_MODELS = 64, 4
_MEMORY = 256 << 20
"""Bytes for all truncated models. Each holds the file, and at most as much again for its packed weights."""
_RUNS, _RUNS_OF_TWO = 3, 10
"""Invocations in a row, of which the fastest counts: of a truncated model, and of two models that are compared."""


@dataclass(frozen=True, slots=True)
class Times:
    """The median time of one inference in microseconds, and the time of each layer; None if it is part of the next."""

    total_us: float
    layers: tuple[LayerTime | None, ...]


def time_layers(content: bytes, graph: Graph, layers: Sequence[Layer], rounds: Iterable[int], name: str) -> Times:
    """Time all layers of the file ``content`` in each of ``rounds``. Raises ModelError, which begins with ``name``."""
    cuts = choose_cuts(graph, layers, len(content))
    with contextlib.ExitStack() as stack:
        models = [
            stack.enter_context(
                BareModel(truncate(content, layers[cut].number, cut_outputs(graph, layers[cut].number)), name)
            )
            for cut in cuts[:-1]
        ]
        models.append(stack.enter_context(BareModel(content, name)))
        measured = [_round(models, backwards=number % 2 == 1) for number in rounds]
    times: list[LayerTime | None] = [None] * len(layers)
    before = -1
    for place, cut in enumerate(cuts):
        differences = [row[place] - (row[place - 1] if place else 0.0) for row in measured]
        times[cut] = LayerTime(statistics.median(differences), _standard_error(differences), cut - before)
        before = cut
    return Times(statistics.median(row[-1] for row in measured), tuple(times))


def _round(models: Sequence[BareModel], *, backwards: bool, runs: int = _RUNS) -> list[float]:
    """Return the time of each model in microseconds. Every other round runs backwards, so that a drift cancels out."""
    if backwards:
        return _round(models[::-1], backwards=False, runs=runs)[::-1]
    return [model.best_ns(runs) / 1e3 for model in models]


def time_ratio(first: bytes, second: bytes, rounds: Iterable[int], names: tuple[str, str]) -> float:
    """Return the time of ``second`` relative to ``first``: the median of the rounds' ratios. Raises ModelError."""
    with BareModel(first, names[0]) as one, BareModel(second, names[1]) as other:
        measured = [_round([one, other], backwards=number % 2 == 1, runs=_RUNS_OF_TWO) for number in rounds]
    return statistics.median(b / a for a, b in measured)


def choose_cuts(graph: Graph, layers: Sequence[Layer], file_bytes: int) -> list[int]:
    """Return the indices of the layers after which the model is cut; the last one is always among them.

    A model with many layers, or a large file, is cut at fewer places, at equal distances.
    """
    possible = [index for index, layer in enumerate(layers[:-1]) if cut_outputs(graph, layer.number)]
    most = max(_MIN_MODELS, min(_MAX_MODELS, _MEMORY // (2 * file_bytes))) - 1
    if len(possible) > most:
        possible = [possible[(place + 1) * len(possible) // (most + 1)] for place in range(most)]
    return [*possible, len(layers) - 1]


def _standard_error(values: Sequence[float]) -> float:
    """Return the standard error of the median of ``values``, from their median absolute deviation."""
    middle = statistics.median(values)
    spread = 1.4826 * statistics.median(abs(value - middle) for value in values)
    return 1.2533 * spread / math.sqrt(len(values))  # sqrt(pi / 2): of the median of normally distributed values
