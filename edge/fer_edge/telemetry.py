"""Counters, stage latencies and resource use of the running pipeline; bounded memory, safe for threads."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from types import TracebackType
from typing import Self

from fer_edge.system.process_memory import resident_mib
from fer_edge.types import LATENCY_LIMITS_S, CropFault, FrameResult, InterpreterInfo, RuntimeStatus, StageLatency

_GROWTH = 1.04
"""Ratio of neighbouring bucket limits: a percentile is off by 2 % at most."""
_SHORTEST_S, _LONGEST_S = 1e-6, 1e3
_BUCKETS = math.ceil(math.log(_LONGEST_S / _SHORTEST_S) / math.log(_GROWTH))
_LIMITS = tuple(round(math.log(limit / _SHORTEST_S) / math.log(_GROWTH)) for limit in LATENCY_LIMITS_S)
"""Buckets that end nearest to the limits of ``StageLatency.within``, which are so met within 2 %."""


class LatencyHistogram:
    """Durations in buckets of geometrically growing width: fixed memory however long it runs."""

    def __init__(self) -> None:
        self.calls = 0
        self.total_s = 0.0
        self._counts = [0] * (_BUCKETS + 1)

    def add(self, seconds: float) -> None:
        """Count one duration: below 0, after a clock jumped, as the shortest; NaN, which tells nothing, not at all."""
        if math.isnan(seconds):
            return
        within = min(max(seconds, _SHORTEST_S), _LONGEST_S)
        self._counts[int(math.log(within / _SHORTEST_S) / math.log(_GROWTH))] += 1
        self.calls += 1
        self.total_s += within

    def percentile(self, share: float) -> float:
        """Seconds below which ``share`` (0..1) of the durations lie, within 2 %; NaN when there are none."""
        return self._percentile(share, list(accumulate(self._counts)))

    def latency(self) -> StageLatency:
        """The summary."""
        summed = list(accumulate(self._counts))
        p50, p95, p99 = (round(1e3 * self._percentile(share, summed), 4) for share in (0.50, 0.95, 0.99))
        return StageLatency(p50, p95, p99, self.calls, self.total_s, tuple(summed[limit - 1] for limit in _LIMITS))

    def _percentile(self, share: float, summed: Sequence[int]) -> float:
        if not self.calls:
            return math.nan
        bucket = bisect_left(summed, max(1, math.ceil(share * self.calls)))
        return float(_SHORTEST_S * _GROWTH ** (bucket + 0.5))


class Telemetry:
    """What the pipeline counts and times; ``snapshot`` may be called from any thread."""

    def __init__(self) -> None:
        self.interpreter: InterpreterInfo | None = None
        """What runs the classifier, once that is loaded."""
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._counts: defaultdict[str, int] = defaultdict(int)
        self._refused = dict.fromkeys(CropFault, 0)
        self._stages: defaultdict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        self._pipeline_cpu_s = 0.0

    def count(self, *, frames: int = 0, dropped: int = 0, faces: int = 0, events: int = 0) -> None:
        """Add to the counters."""
        with self._lock:
            self._counts["frames"] += frames
            self._counts["dropped"] += dropped
            self._counts["faces"] += faces
            self._counts["events"] += events

    def refuse(self, fault: CropFault) -> None:
        """Count a crop that is not classified."""
        with self._lock:
            self._refused[fault] += 1

    def stage(self, name: str) -> StageTimer:
        """Times the block of ``with telemetry.stage("detect"):``."""
        return StageTimer(self, name)

    def record(self, name: str, seconds: float, thread_cpu_s: float = 0.0) -> None:
        """Add one duration of a stage, and the processor time of the thread that is to count as the pipeline's."""
        with self._lock:
            self._stages[name].add(seconds)
            self._pipeline_cpu_s += thread_cpu_s

    def record_age(self, result: FrameResult) -> None:
        """Record how old the frame is, now that ``result`` has been delivered; a file's frames have no age."""
        if result.frame.glass_at is None:
            return
        age_s = time.monotonic() - result.frame.glass_at
        self.record("age", age_s)
        if result.events:
            self.record("age_at_event", age_s)

    def snapshot(self) -> RuntimeStatus:
        """The state now. ``faces`` counts detections, ``frames`` processed frames."""
        with self._lock:
            return RuntimeStatus(
                frames=self._counts["frames"],
                dropped=self._counts["dropped"],
                faces=self._counts["faces"],
                events=self._counts["events"],
                wall_s=time.monotonic() - self._started,
                cpu_s=time.process_time(),
                pipeline_cpu_s=self._pipeline_cpu_s,
                rss_mb=resident_mib(),
                refused={fault.value: count for fault, count in self._refused.items()},
                interpreter=self.interpreter,
                stages={name: histogram.latency() for name, histogram in self._stages.items() if histogram.calls},
            )


class StageTimer:
    """Context manager that records how long its block took."""

    __slots__ = ("_cpu", "_name", "_start", "_telemetry", "_with_cpu")

    def __init__(self, telemetry: Telemetry, name: str, *, with_cpu: bool = False) -> None:
        self._telemetry = telemetry
        self._name = name
        self._with_cpu = with_cpu

    def __enter__(self) -> Self:
        self._cpu = time.thread_time() if self._with_cpu else 0.0
        self._start = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        elapsed_s = time.perf_counter() - self._start
        cpu_s = time.thread_time() - self._cpu if self._with_cpu else 0.0
        self._telemetry.record(self._name, elapsed_s, cpu_s)
