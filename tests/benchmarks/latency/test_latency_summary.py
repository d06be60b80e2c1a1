"""The statistics of latency, with made-up nanoseconds."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fer_bench.latency.measure import interleaved
from fer_bench.latency.process import Configuration
from fer_bench.latency.summary import BASELINE, count_rounds, is_busy, mac_per_s, ratios_to_baseline, summarise

INT8 = Configuration("int8", "litert", 1)
BLOCKS = arrays.arrays(np.int64, arrays.array_shapes(min_dims=2, max_dims=2), elements=st.integers(1, 10**12))


def test_percentiles_by_hand() -> None:
    stats = summarise(np.arange(1, 101).reshape(2, 50) * 10**6)
    assert (stats.runs, stats.p50_ms, stats.max_ms) == (100, pytest.approx(50.5), pytest.approx(100))
    assert (stats.p95_ms, stats.p99_ms) == (pytest.approx(95.05), pytest.approx(99.01))


@given(BLOCKS, st.integers(1, 1000))
def test_percentiles_are_in_order_and_scale_with_the_times(samples: np.ndarray, factor: int) -> None:
    stats = summarise(samples)
    assert samples.min() / 1e6 <= stats.p50_ms <= stats.p95_ms <= stats.p99_ms <= stats.max_ms
    assert stats.max_ms == samples.max() / 1e6
    assert stats.runs == samples.size
    # The round of a time does not matter.
    as_one = summarise(np.sort(samples, axis=None).reshape(1, -1))
    assert dataclasses.replace(as_one, round_p50_ms=stats.round_p50_ms) == stats
    assert len(stats.round_p50_ms) == len(samples)
    assert stats.quantiles_ms == tuple(sorted(stats.quantiles_ms))
    assert stats.quantiles_ms[-1] == pytest.approx(stats.max_ms, abs=1e-6)
    assert summarise(samples * factor).p95_ms == pytest.approx(stats.p95_ms * factor)


@given(BLOCKS)
def test_twice_the_time_is_the_ratio_two_whatever_the_machine_does_meanwhile(samples: np.ndarray) -> None:
    found = ratios_to_baseline({BASELINE: samples, INT8: 2 * samples})
    assert found == {BASELINE: 1.0, INT8: 2.0}


def test_the_ratio_is_taken_round_by_round() -> None:
    # Both run at half speed from the second round on, and in one round only one was disturbed.
    drift = np.array([1000, 2000, 2000])[:, None] * np.ones((3, 10), np.int64)
    disturbed = drift // 2
    disturbed[1] *= 50
    assert ratios_to_baseline({BASELINE: drift, INT8: disturbed})[INT8] == pytest.approx(0.5)


def test_without_the_baseline_there_is_no_ratio() -> None:
    other_threads = Configuration("float32", "litert", 2)
    assert ratios_to_baseline({INT8: np.ones((2, 3), np.int64), other_threads: np.ones((2, 3), np.int64)}) == {
        INT8: None,
        other_threads: None,
    }


@given(st.integers(1, 20), st.integers(1, 50))
def test_in_every_round_each_has_one_turn(count: int, rounds: int) -> None:
    orders = interleaved(count, rounds)
    assert len(orders) == rounds
    for number, order in enumerate(orders):
        assert sorted(order) == list(range(count)), number


def test_none_always_follows_the_same_other() -> None:
    orders = interleaved(8, 40)
    before = {order[order.index(3) - 1] for order in orders if order.index(3)}
    assert before == set(range(8)) - {3}
    assert orders == interleaved(8, 40)


def test_busy_is_a_matter_of_waiting_for_a_core() -> None:
    samples = np.full(100, 10**6)  # 100 ms
    assert is_busy(samples, 4 * 10**6, threads=1) is False
    assert is_busy(samples, 6 * 10**6, threads=1) is True
    assert is_busy(samples, 6 * 10**6, threads=2) is False
    assert is_busy(samples, None, threads=1) is None
    assert count_rounds([True, None, False, True]) == 2
    assert count_rounds([None, None]) is None


def test_mac_per_s_by_hand() -> None:
    assert mac_per_s(57_000_000, 2.0) == pytest.approx(28.5e9)


@pytest.mark.parametrize("macs", ["null", "true", "0", "-5", '"57e6"', "[1]", "NaN", "Infinity"])
def test_a_manifest_without_a_number_of_macs_gives_no_speed(macs: str) -> None:
    assert mac_per_s(json.loads(macs), 2.0) is None
