"""What Prometheus asks for: the board's figures under names, types and units of its own conventions.

This module needs prometheus-client (extra ``web``).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from importlib.metadata import version
from itertools import chain

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fer_edge.status import DaemonStatus, SourceStatus, StatusBoard
from fer_edge.types import LATENCY_LIMITS_S, RuntimeStatus
from fer_edge.web.health import Condition, condition, health
from fer_edge.web.privacy import for_eyes, is_aggregate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MIB = 2**20


class BoardMetrics(Collector):
    """Turns one snapshot of ``board`` into metrics whenever it is asked. Nothing in them is of one face."""

    def __init__(self, board: StatusBoard, stale_after_s: float) -> None:
        self._board, self._stale_after_s = board, stale_after_s
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Nothing: what there is depends on the sources."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The metrics now."""
        status = for_eyes(self._board.snapshot())
        runtimes = [(source.name, source.runtime) for source in status.sources if source.runtime]
        for metric in chain(
            _of_program(status, self._stale_after_s),
            _of_chip(status),
            _of_sources(status, self._stale_after_s),
            _of_pipelines(runtimes, faces=not is_aggregate(status)),
            _of_sinks(status),
        ):
            metric.samples = [sample._replace(labels=_as_text(sample.labels)) for sample in metric.samples]
            yield metric


def _as_text(labels: dict[str, str]) -> dict[str, str]:
    """Names of files may hold bytes that are no text."""
    return {name: value.encode("utf-8", "replace").decode("utf-8") for name, value in labels.items()}


def _of_program(status: DaemonStatus, stale_after_s: float) -> Iterator[Metric]:
    model = status.model
    yield InfoMetricFamily(
        "fer_edge_build",
        "What runs: this program, and the model that classifies.",
        {
            "version": version("fer-edge"),
            "bundle": model.name,
            "bundle_version": model.version,
            "variant": model.variant,
        },
    )
    yield _gauge("fer_edge_ready", "Whether the model is loaded and every source is supervised.", status.ready)
    well = health(status, stale_after_s).healthy
    yield _gauge("fer_edge_healthy", "Whether frames are being processed, as /healthz tells.", well)
    yield _gauge("fer_edge_start_time_seconds", "When it started, seconds since the epoch.", status.started_at)
    yield _gauge("fer_edge_uptime_seconds", "How long it runs, whatever the wall clock does.", status.uptime_s)
    # The process's own figures stand in each source's status alike.
    runtimes = [source.runtime for source in status.sources if source.runtime]
    if runtimes:
        cpu_s = max(runtime.cpu_s for runtime in runtimes)
        yield _counter("fer_edge_cpu_seconds", "Processor time of the process.", cpu_s)
        resident = max((runtime.rss_mb for runtime in runtimes if not math.isnan(runtime.rss_mb)), default=None)
        if resident is not None:
            yield _gauge("fer_edge_resident_memory_bytes", "Resident memory of the process.", resident * _MIB)


def _of_chip(status: DaemonStatus) -> Iterator[Metric]:
    chip = status.chip
    if chip.temperature_c is not None:
        yield _gauge("fer_edge_chip_temperature_celsius", "Temperature of the chip.", chip.temperature_c)
    known = sorted({*chip.throttled, *chip.throttled_before})
    now = GaugeMetricFamily("fer_edge_chip_throttled", "What slows the chip down now.", labels=["reason"])
    before = GaugeMetricFamily(
        "fer_edge_chip_throttled_since_boot", "What slowed the chip down since it was switched on.", labels=["reason"]
    )
    for reason in known:
        now.add_metric([reason], float(reason in chip.throttled))
        before.add_metric([reason], float(reason in chip.throttled_before))
    yield now
    yield before
    share = chip.budget_share
    yield _gauge("fer_edge_chip_budget_ratio", "Part of the budget for searches that the chip's heat leaves.", share)


def _of_sources(status: DaemonStatus, stale_after_s: float) -> Iterator[Metric]:
    up = _by_source("fer_edge_source_up", "Whether the source delivers frames, and they are processed.")
    fps = _by_source("fer_edge_source_frames_per_second", "Frames processed each second of late.")
    age = _by_source("fer_edge_source_last_frame_age_seconds", "Time since the newest frame was processed.")
    lost = CounterMetricFamily("fer_edge_source_lost", "How often the source was lost.", labels=["source"])
    attempts = CounterMetricFamily(
        "fer_edge_source_reconnect_attempts", "How often opening it again was tried.", labels=["source"]
    )
    dark = _by_source("fer_edge_source_dark", "Whether its pictures are dark: it delivers, and nothing can be seen.")
    in_sight = _by_source("fer_edge_source_faces_in_sight", "Faces that are in sight now.")
    for source in status.sources:
        name = [source.name]
        found = condition(source, status.mono, stale_after_s)
        watching = found.delivers
        seen = source.last_frame_at
        up.add_metric(name, float(watching and seen is not None))
        dark.add_metric(name, float(found is Condition.DARK))
        fps.add_metric(name, source.fps if watching else 0.0)
        if seen is not None:
            age.add_metric(name, max(0.0, status.mono - seen))
        lost.add_metric(name, source.lost)
        attempts.add_metric(name, source.attempts)
        in_sight.add_metric(name, _faces_in_sight(source, watching))
    yield from (up, dark, fps, age, lost, attempts)
    if not is_aggregate(status):
        yield in_sight


_COUNTERS = (
    ("fer_edge_frames", "Frames processed.", "frames"),
    ("fer_edge_frames_dropped", "Frames that were overtaken by newer ones or damaged, and not processed.", "dropped"),
)
_COUNTERS_OF_FACES = (
    ("fer_edge_faces_detected", "Faces found by searches; a face counts each time it is found.", "faces"),
    ("fer_edge_events", "Events made.", "events"),
)


def _of_pipelines(runtimes: list[tuple[str, RuntimeStatus]], *, faces: bool) -> Iterator[Metric]:
    for name, what, field in (*_COUNTERS, *(_COUNTERS_OF_FACES if faces else ())):
        counter = CounterMetricFamily(name, what, labels=["source"])
        for source, runtime in runtimes:
            counter.add_metric([source], getattr(runtime, field))
        yield counter
    refused = CounterMetricFamily(
        "fer_edge_crops_refused", "Faces that were not classified, by what was wrong.", labels=["source", "reason"]
    )
    stages = HistogramMetricFamily(
        "fer_edge_stage_duration_seconds", "Time that each stage of the pipeline took.", labels=["source", "stage"]
    )
    for source, runtime in runtimes:
        for reason, count in runtime.refused.items():
            refused.add_metric([source, reason], count)
        for stage, latency in runtime.stages.items():
            limits = [f"{limit:g}" for limit in LATENCY_LIMITS_S]
            buckets = [*zip(limits, map(float, latency.within), strict=True), ("+Inf", float(latency.calls))]
            stages.add_metric([source, stage], buckets, latency.total_s)
    if faces:
        yield refused
    yield stages


def _of_sinks(status: DaemonStatus) -> Iterator[Metric]:
    up = GaugeMetricFamily("fer_edge_sink_up", "Whether the output's last attempt went well.", labels=["sink"])
    waiting = GaugeMetricFamily("fer_edge_sink_events_waiting", "Events that it holds.", labels=["sink"])
    sent = CounterMetricFamily("fer_edge_sink_events_sent", "Events that it passed on.", labels=["sink"])
    dropped = CounterMetricFamily("fer_edge_sink_events_dropped", "Events that it had to drop.", labels=["sink"])
    for sink in status.sinks:
        up.add_metric([sink.name], float(sink.working))
        waiting.add_metric([sink.name], sink.waiting)
        sent.add_metric([sink.name], sink.sent)
        dropped.add_metric([sink.name], sink.dropped)
    yield from (up, waiting, sent, dropped)


def _faces_in_sight(source: SourceStatus, watching: bool) -> int:
    return len(source.tracks) if watching else 0


def _by_source(name: str, what: str) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, labels=["source"])


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(name, what, value=float(value))


def _counter(name: str, what: str, value: float) -> CounterMetricFamily:
    return CounterMetricFamily(name, what, value=value)
