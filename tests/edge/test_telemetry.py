"""Counters add up, percentiles are accurate, and memory use is bounded."""

from __future__ import annotations

import math
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fer_edge.system.process_memory import resident_mib
from fer_edge.telemetry import LatencyHistogram, StageTimer, Telemetry
from fer_edge.types import LATENCY_LIMITS_S, CropFault


@given(st.lists(st.floats(2e-6, 500.0), min_size=1, max_size=200))
def test_percentiles_are_within_two_percent(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    exact_ms = 1e3 * np.percentile(durations, (50, 95, 99), method="inverted_cdf")
    latency = histogram.latency()  # rounded to 1e-4 ms
    assert [latency.p50_ms, latency.p95_ms, latency.p99_ms] == pytest.approx(exact_ms, rel=0.021, abs=1e-4)
    assert histogram.calls == len(durations)


@given(st.lists(st.floats(1e-6, 10.0), max_size=100))
def test_latency_buckets_are_consistent(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    latency = histogram.latency()
    assert latency.total_s == pytest.approx(sum(durations))
    for limit, within in zip(LATENCY_LIMITS_S, latency.within, strict=True):
        surely, perhaps = (sum(duration <= limit * off for duration in durations) for off in (0.979, 1.021))
        assert surely <= within <= perhaps


@given(st.lists(st.floats(), max_size=20))
@example([math.inf, -math.inf, math.nan, 1e3, 0.0, -1.0])
def test_any_duration_is_accepted(durations: list[float]) -> None:
    histogram = LatencyHistogram()
    for duration in durations:
        histogram.add(duration)
    told = [duration for duration in durations if not math.isnan(duration)]
    assert histogram.calls == len(told)
    latency = histogram.latency()
    if told:
        assert 0 < latency.p50_ms <= latency.p95_ms <= latency.p99_ms < 1.05e6
    else:
        assert math.isnan(latency.p50_ms)


def test_negative_durations_count_as_the_minimum_and_nan_is_ignored() -> None:
    histogram = LatencyHistogram()
    for duration in (-5.0, -0.1, math.nan):
        histogram.add(duration)
    assert (histogram.calls, histogram.latency().p99_ms) == (2, 0.001)


def test_counts_from_many_threads_add_up() -> None:
    telemetry = Telemetry()

    def work() -> None:
        for _ in range(500):
            telemetry.count(frames=1, faces=2)
            telemetry.refuse(CropFault.BLURRED)
            with telemetry.stage("detect"):
                pass

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    status = telemetry.snapshot()
    assert (status.frames, status.faces, status.dropped, status.events) == (2000, 4000, 0, 0)
    assert status.stages["detect"].calls == 2000
    assert {fault: count for fault, count in status.refused.items() if count} == {"blurred": 2000}


def test_a_stage_records_duration_and_thread_time() -> None:
    telemetry = Telemetry()
    with StageTimer(telemetry, "sleeping", with_cpu=True):
        time.sleep(0.03)
    status = telemetry.snapshot()
    assert status.stages["sleeping"].p50_ms >= 29
    assert status.pipeline_cpu_s < 0.02
    with StageTimer(telemetry, "working", with_cpu=True):
        end = time.thread_time() + 0.02
        while time.thread_time() < end:
            pass
    assert 0.02 <= telemetry.snapshot().pipeline_cpu_s <= telemetry.snapshot().cpu_s


def test_a_failing_stage_is_counted_and_its_error_propagates() -> None:
    telemetry = Telemetry()
    with pytest.raises(KeyError), telemetry.stage("broken"):
        raise KeyError("x")
    assert telemetry.snapshot().stages["broken"].calls == 1


def test_resident_memory_is_plausible() -> None:
    # In a new process, because this one may reuse memory that it has freed.
    code = """
import numpy as np
from fer_edge.system.process_memory import resident_mib
before = resident_mib()
block = np.ones(64 * 2**20, np.uint8)
print(before, resident_mib())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    before, after = map(float, done.stdout.split())
    assert 10 < before < 1000
    assert 60 < after - before < 70


def test_memory_is_read_without_heavy_imports() -> None:
    code = (
        "from fer_edge.system import process_memory as p; import sys; print(p.resident_mib(), 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    resident, heavy = done.stdout.split()
    assert 3 < float(resident) < 60
    assert heavy == "False"


def test_memory_use_is_constant() -> None:
    telemetry = Telemetry()
    before = resident_mib()
    for _ in range(50_000):
        telemetry.record("stage", 0.001)
    assert resident_mib() - before < 5
