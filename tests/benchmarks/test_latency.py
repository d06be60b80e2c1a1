"""Latency, memory and load time: the arithmetic on made-up times, the measuring on a real bundle."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
import pytest

from fer_bench.latency import WARM_UP, interleave, measure_latency, summarise
from fer_bench.memory import measure_memory, rss_mib
from fer_bench.results import LatencySettings
from fer_edge.bundle import load_bundle
from fer_edge.errors import ModelError


def test_variants_take_turns_and_the_order_rotates():
    turns: list[str] = []
    calls = {name: lambda i, name=name: turns.append(name) for name in "abc"}
    samples = interleave(calls, rounds=3, runs=2)
    order = "".join(turns[:: WARM_UP + 2])
    assert order == "abc" + "bca" + "cab"
    assert len(turns) == 9 * (WARM_UP + 2)
    assert {name: found.shape for name, found in samples.items()} == dict.fromkeys("abc", (3, 2))


def test_a_timed_call_is_measured_in_milliseconds():
    samples = interleave({"sleeper": lambda i: time.sleep(0.004)}, rounds=1, runs=3)
    assert 4.0 <= np.median(samples["sleeper"]) < 100


def test_percentiles_and_ratio_by_hand():
    float32 = np.arange(1.0, 101.0).reshape(2, 50)
    results = summarise({"float32": float32, "int8": float32 / 4})
    stats = results["float32"].stats
    assert (stats.p50_ms, stats.runs) == (pytest.approx(50.5), 100)
    assert (stats.p95_ms, stats.p99_ms) == (pytest.approx(95.05), pytest.approx(99.01))
    assert results["float32"].ratio == 1.0
    assert results["int8"].ratio == pytest.approx(0.25)


def test_the_ratio_survives_a_machine_that_slows_down():
    # Half speed from the second round on, for both: three rounds, the ratio is 0.5 in each.
    drift = np.array([1.0, 2.0, 2.0])[:, None] * np.ones((3, 10))
    assert summarise({"float32": drift, "int8": drift / 2})["int8"].ratio == pytest.approx(0.5)


def test_without_float32_there_is_no_ratio():
    assert summarise({"int8": np.ones((2, 3))})["int8"].ratio is None


def test_a_real_bundle_has_plausible_latencies(tiny_bundle: Path):
    with load_bundle(tiny_bundle) as bundle:
        results = measure_latency(bundle, ("float32", "int8"), LatencySettings(rounds=3, runs=20))
    for result in results.values():
        stats = result.stats
        assert 0 < stats.p50_ms <= stats.p95_ms <= stats.p99_ms < 1000
        assert stats.runs == 60
        assert result.ratio is not None
        assert 0.01 < result.ratio < 100


@pytest.mark.skipif(sys.platform == "win32", reason="reads /proc or psutil; not tried on Windows")
def test_memory_is_that_of_a_fresh_process(tiny_bundle: Path):
    found = measure_memory(tiny_bundle / "int8.tflite")
    assert 3 < found.rss_before_mib < found.rss_import_mib < found.rss_loaded_mib < 200
    # This process holds TensorFlow: the child must not have inherited any of it.
    assert found.rss_loaded_mib < rss_mib()
    assert found.import_ms > 0
    assert found.load_ms > 0


def test_a_file_that_does_not_load_is_told_in_one_line(tmp_path: Path):
    path = tmp_path / "broken.tflite"
    path.write_bytes(b"no model")
    with pytest.raises(ModelError, match="cannot be loaded in a process of its own") as caught:
        measure_memory(path)
    assert "\n" not in str(caught.value)
