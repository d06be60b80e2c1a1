"""Measurements of the running program."""

from __future__ import annotations

from dataclasses import dataclass, field

LATENCY_LIMITS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)
"""Upper bounds in seconds of the latency buckets of ``StageLatency.within``, for monitoring systems."""


@dataclass(frozen=True, slots=True)
class StageLatency:
    """Latency of one pipeline stage.

    Attributes:
        p50_ms: Median, milliseconds.
        p95_ms: 95th percentile, milliseconds.
        p99_ms: 99th percentile, milliseconds.
        calls: How often the stage ran.
        total_s: Sum over all calls, seconds.
        within: Number of calls that took no longer than each of ``LATENCY_LIMITS_S``, in the same order.
    """

    p50_ms: float
    p95_ms: float
    p99_ms: float
    calls: int
    total_s: float = 0.0
    within: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class InterpreterInfo:
    """The interpreter that runs a model.

    Attributes:
        name: Name of the distribution.
        version: Version of the distribution.
        delegate: ``XNNPACK`` if it runs a part of the graph; None if the built-in kernels run all of it.
        delegated_nodes: Number of nodes that the delegate runs; None if the interpreter does not report it.
        nodes: Number of nodes of the graph; None if the interpreter does not report it.
        threads: Threads of one inference.
    """

    name: str
    version: str
    delegate: str | None
    delegated_nodes: int | None
    nodes: int | None
    threads: int


@dataclass(frozen=True, slots=True)
class ZoneTotals:
    """What was counted in one zone.

    Attributes:
        entered: Number of faces that came into it. One that leaves and returns counts twice.
        emotion_s: Seconds of each emotion, summed over its faces; ``UNCERTAIN`` included.
    """

    entered: int = 0
    emotion_s: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class RuntimeStatus:
    """Counters and resource use of the running pipeline.

    Attributes:
        frames: Frames processed.
        dropped: Frames dropped by the source.
        faces: Detections of faces, summed over all frames.
        appeared: Faces that came into view. One that leaves and returns counts twice.
        events: Events made.
        wall_s: Time since the start, seconds.
        cpu_s: Processor time of the whole process, seconds.
        pipeline_cpu_s: Processor time of the pipeline's thread, seconds.
        rss_mb: Resident set size in MiB (2**20 bytes); NaN if the system does not report it.
        refused: Number of crops that were not classified, by ``CropFault``.
        interpreter: Runs the classifier; None if it is not known.
        stages: Latency by stage.
        zones: Totals of each zone of ``source.zones``.
    """

    frames: int
    dropped: int
    faces: int
    appeared: int
    events: int
    wall_s: float
    cpu_s: float
    pipeline_cpu_s: float
    rss_mb: float
    refused: dict[str, int] = field(default_factory=dict)
    interpreter: InterpreterInfo | None = None
    stages: dict[str, StageLatency] = field(default_factory=dict)
    zones: dict[str, ZoneTotals] = field(default_factory=dict)
