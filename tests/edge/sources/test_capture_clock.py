"""Capture times of a stream, from its timestamps and from when its pictures arrive."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import time
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fer_edge.sources.stream.capture_clock import CaptureClock

GAPS = st.lists(st.tuples(st.floats(0.001, 1.0), st.floats(0, 5)), min_size=2, max_size=50)


@given(GAPS, st.floats(0, 1e6), st.floats(-1e6, 1e6))
def test_times_increase_are_not_later_than_now_and_never_earlier_than_possible(
    gaps: list[tuple[float, float]], began: float, first_media_s: float
) -> None:
    clock = CaptureClock()
    media_s, now = first_media_s, began
    times = []
    for step_s, wait_s in gaps:
        media_s, now = media_s + step_s, now + wait_s
        times.append((clock.advance(media_s, now), now))
    assert all(taken <= now + 1e-6 for taken, now in times)
    assert all(later >= earlier - 1e-6 for (earlier, _), (later, _) in pairwise(times))
    assert min(taken for taken, _ in times) >= began - 1e-6


def test_what_waited_in_the_network_is_as_old_as_it_is() -> None:
    clock = CaptureClock()
    assert [clock.advance(0.1 * i, 10 + 0.1 * i) for i in range(5)] == pytest.approx([10 + 0.1 * i for i in range(5)])
    # A stall of three seconds, then all waiting frames at once.
    late = [clock.advance(0.5 + 0.1 * i, 13.5) for i in range(30)]
    assert late == pytest.approx([10.5 + 0.1 * i for i in range(30)])
    assert clock.advance(3.6, 13.6) == pytest.approx(13.6)


def test_the_burst_at_the_start_of_a_stream_is_no_lag() -> None:
    clock = CaptureClock()
    assert {clock.advance(0.1 * i, 10.0) for i in range(20)} == {10.0}
    assert clock.advance(2.0, 10.1) == pytest.approx(10.1)


@pytest.mark.parametrize("media_s", [0.0, -5.0, math.nan, math.inf])
def test_timestamps_that_do_not_increase_are_not_used(media_s: float) -> None:
    clock = CaptureClock()
    clock.advance(1.0, 10.0)
    assert [clock.advance(media_s, now) for now in (11.0, 12.0, 20.0)] == [11.0, 12.0, 20.0]
    clock = CaptureClock()
    assert [clock.advance(media_s, now) for now in (11.0, 12.0, 20.0)] == [11.0, 12.0, 20.0]


def test_a_lag_that_stays_while_the_thread_waits_is_forgotten() -> None:
    """A camera's clock that runs 10 % slower: it would be half a second behind after five."""
    clock = CaptureClock()
    lags = []
    began = time.monotonic()
    for _ in range(60):
        time.sleep(0.05)
        now = time.monotonic()
        lags.append(now - clock.advance(0.9 * (now - began), now))
    assert 0.05 < max(lags) < 0.25


@pytest.mark.skipif(
    not Path("/proc/thread-self/schedstat").exists(), reason="the kernel does not count waits for a core"
)
def test_a_lag_that_grows_while_the_thread_is_busy_is_kept() -> None:
    """Decoding takes longer than the time between two pictures, and another program takes half of the core."""
    cores = os.sched_getaffinity(0)
    core = min(cores)
    busy = f"import os\nos.sched_setaffinity(0, {{{core}}})\nwhile True: pass"
    with subprocess.Popen([sys.executable, "-c", busy]) as other:
        os.sched_setaffinity(0, {core})  # of this thread
        try:
            clock = CaptureClock()
            began = time.monotonic()
            for i in range(100):
                used = time.thread_time()
                while time.thread_time() - used < 0.015:
                    pass
                now = time.monotonic()
                taken = clock.advance(0.01 * i, now)
        finally:
            os.sched_setaffinity(0, cores)
            other.kill()
    behind = now - began - 1.0
    assert behind > 0.4
    assert behind - 0.1 < now - taken < behind + 0.1
