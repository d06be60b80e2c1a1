"""Compute the numbers of a row from the time of each invocation."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_bench.latency.engines import LITERT
from fer_bench.latency.process import Configuration
from fer_bench.results import REFERENCE

Samples = npt.NDArray[np.int64]
BASELINE = Configuration(REFERENCE, LITERT, 1)
"""The configuration that the times of the others are divided by."""
QUANTILE_STEP = 2
"""Percentage points between two quantiles in a report."""
BUSY_SHARE = 0.05
"""Share of a block's time that a thread may wait for a core before the machine counts as busy: one time slice of
another process, some milliseconds, in a block of 100 ms."""


@dataclass(frozen=True, slots=True)
class LatencyStats:
    """Statistics of ``runs`` timed invocations, in milliseconds; see ``LatencyRow``."""

    runs: int
    p50_ms: float
    p95_ms: float
    p99_ms: float
    max_ms: float
    round_p50_ms: tuple[float, ...]
    quantiles_ms: tuple[float, ...]


def summarise(samples_ns: Samples) -> LatencyStats:
    """Return percentiles over all invocations of int64 [rounds, runs], with linear interpolation."""
    p50, p95, p99, highest = (float(value) / 1e6 for value in np.percentile(samples_ns, (50, 95, 99, 100)))
    rounds = (np.median(samples_ns, axis=1) / 1e6).round(6)
    quantiles = (np.percentile(samples_ns, np.arange(0, 101, QUANTILE_STEP)) / 1e6).round(6)
    return LatencyStats(samples_ns.size, p50, p95, p99, highest, tuple(rounds.tolist()), tuple(quantiles.tolist()))


def ratios_to_baseline(samples_ns: Mapping[Configuration, Samples]) -> dict[Configuration, float | None]:
    """Return the time relative to the baseline: the ratio of the medians in each round, then the median of the rounds.

    Both medians of a round are measured soon after each other, so the ratio is reliable on a machine whose speed
    varies. All are None if the baseline was not measured.
    """
    baseline = samples_ns.get(BASELINE)
    if baseline is None:
        return dict.fromkeys(samples_ns)
    base = np.median(baseline, axis=1)
    return {key: float(np.median(np.median(found, axis=1) / base)) for key, found in samples_ns.items()}


def is_busy(samples_ns: Samples, waiting_ns: int | None, threads: int) -> bool | None:
    """Return whether the threads of a block waited long for a core; None if unknown."""
    if waiting_ns is None:
        return None
    return bool(waiting_ns > BUSY_SHARE * threads * int(samples_ns.sum()))


def count_rounds(found: Sequence[bool | None]) -> int | None:
    """Return the number of rounds with True; None if it is unknown for all rounds."""
    known = [value for value in found if value is not None]
    return sum(known) if known else None


def mac_per_s(macs: object, p50_ms: float) -> float | None:
    """Return multiply-accumulates per second at the median; None if a manifest's ``macs`` is not a positive number."""
    if isinstance(macs, bool) or not isinstance(macs, int | float) or not 0 < macs < math.inf:  # NaN is neither
        return None
    return macs / (p50_ms / 1e3)
