"""Latency of one invocation, the variants interleaved so that a drift of the machine hits them all alike."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from fer_bench.extras import progress
from fer_bench.onnx_model import load_model
from fer_bench.results import REFERENCE, LatencyResult, LatencySettings, LatencyStats
from fer_edge.bundle import ModelBundle

Samples = npt.NDArray[np.float64]
WARM_UP = 5
"""Untimed invocations whenever a variant's turn comes: its weights must come back into the caches."""
_CROPS, _SEED = 16, 20130701


def measure_latency(
    bundle: ModelBundle, variants: tuple[str, ...], settings: LatencySettings
) -> dict[str, LatencyResult]:
    """Time every variant of ``variants`` on the same seeded random crops; needs no data set. Raises ModelError."""
    size = (bundle.manifest.input.height, bundle.manifest.input.width)
    crops = np.random.default_rng(_SEED).integers(0, 256, (_CROPS, 1, *size, 1), dtype=np.uint8)
    with contextlib.ExitStack() as opened:
        calls: dict[str, Callable[[int], object]] = {}
        for name in variants:
            model = load_model(bundle.variant(name).path, settings.threads)
            opened.callback(model.close)
            tensors = [crop.astype(model.input_details.dtype) for crop in crops]
            calls[name] = lambda i, model=model, tensors=tensors: model.invoke(tensors[i % _CROPS])  # type: ignore[misc]
        return summarise(interleave(calls, settings.rounds, settings.runs))


def interleave(calls: Mapping[str, Callable[[int], object]], rounds: int, runs: int) -> dict[str, Samples]:
    """Milliseconds, float64 [rounds, runs], of each of ``calls``, which are given the number of the invocation.

    In every round each gets its turn of ``runs`` timed invocations; the order rotates, so that none always
    follows the same other.
    """
    samples = {name: np.empty((rounds, runs)) for name in calls}
    names = list(calls)
    for round_number in progress(range(rounds), "latency", rounds):
        turn = round_number % len(names)
        for name in names[turn:] + names[:turn]:
            call = calls[name]
            for i in range(WARM_UP):
                call(i)
            for i in range(runs):
                start = time.perf_counter_ns()
                call(i)
                samples[name][round_number, i] = (time.perf_counter_ns() - start) / 1e6
    return samples


def summarise(samples: Mapping[str, Samples]) -> dict[str, LatencyResult]:
    """Percentiles over all rounds, and the ratio to float32: the median over rounds of the medians' ratio.

    Both medians of a round were taken next to each other, so the ratio holds on a machine that speeds up
    and slows down.
    """
    reference = samples.get(REFERENCE)
    results = {}
    for name, times in samples.items():
        p50, p95, p99 = (float(value) for value in np.percentile(times, (50, 95, 99)))
        ratio = None
        if reference is not None:
            ratio = float(np.median(np.median(times, axis=1) / np.median(reference, axis=1)))
        results[name] = LatencyResult(LatencyStats(p50, p95, p99, times.size), ratio)
    return results
