"""Counters, stage latencies and resource use of the running pipeline. Thread-safe, with constant memory use."""

from __future__ import annotations

import math
import threading
import time
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Iterable
from itertools import accumulate
from types import TracebackType
from typing import Self

from fer_edge.system.process_memory import resident_mib
from fer_edge.types import (
    LATENCY_LIMITS_S,
    CropFault,
    FrameResult,
    InterpreterInfo,
    RuntimeStatus,
    StageLatency,
    TrackedEmotion,
    ZoneTotals,
)

_GROWTH = 1.04
"""Ratio of adjacent bucket limits: the error of a percentile is at most 2 %."""
_MIN_S, _MAX_S = 1e-6, 1e3
_BUCKETS = math.ceil(math.log(_MAX_S / _MIN_S) / math.log(_GROWTH))
_LIMITS = tuple(round(math.log(limit / _MIN_S) / math.log(_GROWTH)) for limit in LATENCY_LIMITS_S)
"""Buckets whose upper limits are closest to ``LATENCY_LIMITS_S``, within 2 %."""


class LatencyHistogram:
    """Histogram of durations with buckets of geometrically increasing width."""

    def __init__(self) -> None:
        self.calls = 0
        self.total_s = 0.0
        self._counts = [0] * (_BUCKETS + 1)

    def add(self, seconds: float) -> None:
        """Count one duration. Negative ones, caused by a clock that jumped, count as the minimum; NaN is ignored."""
        if math.isnan(seconds):
            return
        within = min(max(seconds, _MIN_S), _MAX_S)
        self._counts[int(math.log(within / _MIN_S) / math.log(_GROWTH))] += 1
        self.calls += 1
        self.total_s += within

    def latency(self) -> StageLatency:
        """Return percentiles (NaN without durations), count and sum."""
        summed = list(accumulate(self._counts))
        buckets = (bisect_left(summed, max(1, math.ceil(share * self.calls))) for share in (0.50, 0.95, 0.99))
        scale_ms = 1e3 * _MIN_S if self.calls else math.nan
        p50, p95, p99 = (round(scale_ms * _GROWTH ** (bucket + 0.5), 4) for bucket in buckets)
        return StageLatency(p50, p95, p99, self.calls, self.total_s, tuple(summed[limit - 1] for limit in _LIMITS))


class Telemetry:
    """Counters and stage latencies of a pipeline. Thread-safe.

    >>> telemetry = Telemetry()
    >>> telemetry.count(frames=2, faces=1)
    >>> with telemetry.stage("detect"):
    ...     pass
    >>> status = telemetry.snapshot()
    >>> status.frames, status.faces, status.stages["detect"].calls
    (2, 1, 1)
    """

    def __init__(self) -> None:
        self.interpreter: InterpreterInfo | None = None
        """The interpreter that runs the classifier; None until that is loaded."""
        self.zones: tuple[str, ...] = ()
        """Names of the source's zones."""
        self._lock = threading.Lock()
        self._started = time.monotonic()
        self._counts: Counter[str] = Counter()
        self._refused = Counter(dict.fromkeys(CropFault, 0))
        self._stages: defaultdict[str, LatencyHistogram] = defaultdict(LatencyHistogram)
        self._pipeline_cpu_s = 0.0
        self._entered: Counter[str] = Counter()
        self._emotion_s: defaultdict[str, defaultdict[str, float]] = defaultdict(lambda: defaultdict(float))

    def count(self, *, frames: int = 0, dropped: int = 0, faces: int = 0, appeared: int = 0, events: int = 0) -> None:
        """Add to the counters."""
        with self._lock:
            self._counts.update(frames=frames, dropped=dropped, faces=faces, appeared=appeared, events=events)

    def count_zones(self, entered: Iterable[str], tracks: Iterable[TrackedEmotion], seconds: float) -> None:
        """Add one frame to the totals of the zones.

        Args:
            entered: The zone of each track that came into one in this frame.
            tracks: The tracks in view.
            seconds: Time since the frame before.
        """
        with self._lock:
            self._entered.update(entered)
            for track in tracks:
                if track.zone is not None and track.emotion is not None:
                    self._emotion_s[track.zone][track.emotion] += seconds

    def refuse(self, fault: CropFault) -> None:
        """Count a crop that is not classified because of ``fault``."""
        with self._lock:
            self._refused[fault] += 1

    def stage(self, name: str) -> StageTimer:
        """Return a context manager that records the duration of its block as one call of the stage ``name``."""
        return StageTimer(self, name)

    def record(self, name: str, seconds: float, thread_cpu_s: float = 0.0) -> None:
        """Record one call of a stage.

        Args:
            name: The stage.
            seconds: Duration of the call.
            thread_cpu_s: Processor time to add to ``RuntimeStatus.pipeline_cpu_s``, seconds.
        """
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
        """Return the current counters and latencies."""
        with self._lock:
            return RuntimeStatus(
                frames=self._counts["frames"],
                dropped=self._counts["dropped"],
                faces=self._counts["faces"],
                appeared=self._counts["appeared"],
                events=self._counts["events"],
                wall_s=time.monotonic() - self._started,
                cpu_s=time.process_time(),
                pipeline_cpu_s=self._pipeline_cpu_s,
                rss_mb=resident_mib(),
                refused={fault.value: count for fault, count in self._refused.items()},
                interpreter=self.interpreter,
                stages={name: histogram.latency() for name, histogram in self._stages.items() if histogram.calls},
                zones={name: ZoneTotals(self._entered[name], dict(self._emotion_s[name])) for name in self.zones},
            )


class StageTimer:
    """Context manager that records the duration of its block, and optionally the thread's processor time."""

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
