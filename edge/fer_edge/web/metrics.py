"""Prometheus metrics of the daemon's status. Needs prometheus-client (extra ``web``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
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

from fer_edge.status import DaemonStatus, SourceStatus
from fer_edge.types import LATENCY_LIMITS_S, RuntimeStatus
from fer_edge.web.health import Condition, condition, health
from fer_edge.web.privacy import apply_privacy, is_aggregate

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MIB = 2**20


class StatusMetrics(Collector):
    """Collect metrics from a new status snapshot for each request. They hold no data of single faces."""

    def __init__(self, snapshot: Callable[[], DaemonStatus], stale_after_s: float) -> None:
        self._snapshot, self._stale_after_s = snapshot, stale_after_s
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def describe(self) -> Iterable[Metric]:
        """Return nothing; the metrics depend on the sources."""
        return []

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        status = apply_privacy(self._snapshot())
        runtimes = [(source.name, source.runtime) for source in status.sources if source.runtime]
        for metric in chain(
            _process_metrics(status, self._stale_after_s),
            _chip_metrics(status),
            _source_metrics(status, self._stale_after_s),
            _pipeline_metrics(runtimes, faces=not is_aggregate(status)),
            _sink_metrics(status),
        ):
            metric.samples = [sample._replace(labels=_as_utf8(sample.labels)) for sample in metric.samples]
            yield metric


def _as_utf8(labels: dict[str, str]) -> dict[str, str]:
    """Replace invalid characters; file names may hold arbitrary bytes."""
    return {name: value.encode("utf-8", "replace").decode("utf-8") for name, value in labels.items()}


def _process_metrics(status: DaemonStatus, stale_after_s: float) -> Iterator[Metric]:
    model = status.model
    yield InfoMetricFamily(
        "fer_edge_build",
        "Version of the program and of the model.",
        {
            "version": version("fer-edge"),
            "bundle": model.name,
            "bundle_version": model.version,
            "variant": model.variant,
        },
    )
    yield _gauge("fer_edge_ready", "Whether the model is loaded and every source has been started.", status.ready)
    healthy = health(status, stale_after_s).healthy
    yield _gauge("fer_edge_healthy", "Whether frames are being processed, as in /healthz.", healthy)
    yield _gauge("fer_edge_start_time_seconds", "Start time, seconds since the epoch.", status.started_at)
    yield _gauge("fer_edge_uptime_seconds", "Time since the start, by the monotonic clock.", status.uptime_s)
    # Each source's status has the figures of the whole process.
    runtimes = [source.runtime for source in status.sources if source.runtime]
    if runtimes:
        cpu_s = max(runtime.cpu_s for runtime in runtimes)
        yield _counter("fer_edge_cpu_seconds", "Processor time of the process.", cpu_s)
        resident = max((runtime.rss_mb for runtime in runtimes if not math.isnan(runtime.rss_mb)), default=None)
        if resident is not None:
            yield _gauge("fer_edge_resident_memory_bytes", "Resident memory of the process.", resident * _MIB)


def _chip_metrics(status: DaemonStatus) -> Iterator[Metric]:
    chip = status.chip
    if chip.temperature_c is not None:
        yield _gauge("fer_edge_chip_temperature_celsius", "Temperature of the chip.", chip.temperature_c)
    known = sorted({*chip.throttled, *chip.throttled_before})
    now = GaugeMetricFamily(
        "fer_edge_chip_throttled", "Reasons for which the chip is throttled now.", labels=["reason"]
    )
    before = GaugeMetricFamily(
        "fer_edge_chip_throttled_since_boot", "Reasons for which the chip was throttled since boot.", labels=["reason"]
    )
    for reason in known:
        now.add_metric([reason], float(reason in chip.throttled))
        before.add_metric([reason], float(reason in chip.throttled_before))
    yield now
    yield before
    share = chip.budget_share
    yield _gauge(
        "fer_edge_chip_budget_ratio", "Share of the search budget in use, lowered when the chip is hot.", share
    )


def _source_metrics(status: DaemonStatus, stale_after_s: float) -> Iterator[Metric]:
    up = _by_source("fer_edge_source_up", "Whether the source delivers frames and they are processed.")
    fps = _by_source("fer_edge_source_frames_per_second", "Frames processed per second, recent average.")
    age = _by_source("fer_edge_source_last_frame_age_seconds", "Time since the newest frame was processed.")
    lost = CounterMetricFamily("fer_edge_source_lost", "How often the source was lost.", labels=["source"])
    attempts = CounterMetricFamily(
        "fer_edge_source_reconnect_attempts", "Attempts to reopen the source.", labels=["source"]
    )
    dark = _by_source("fer_edge_source_dark", "Whether frames arrive but are too dark to detect faces.")
    in_sight = _by_source("fer_edge_source_faces_in_sight", "Faces currently tracked.")
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
    (
        "fer_edge_frames_dropped",
        "Frames not processed because they were damaged or a newer one had arrived.",
        "dropped",
    ),
)
_FACE_COUNTERS = (
    ("fer_edge_faces_detected", "Detections; a face counts each time it is detected.", "faces"),
    ("fer_edge_events", "Events emitted.", "events"),
)


def _pipeline_metrics(runtimes: list[tuple[str, RuntimeStatus]], *, faces: bool) -> Iterator[Metric]:
    for name, what, field in (*_COUNTERS, *(_FACE_COUNTERS if faces else ())):
        counter = CounterMetricFamily(name, what, labels=["source"])
        for source, runtime in runtimes:
            counter.add_metric([source], getattr(runtime, field))
        yield counter
    refused = CounterMetricFamily(
        "fer_edge_crops_refused", "Face crops not classified, by reason.", labels=["source", "reason"]
    )
    stages = HistogramMetricFamily(
        "fer_edge_stage_duration_seconds", "Time taken by each stage of the pipeline.", labels=["source", "stage"]
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


def _sink_metrics(status: DaemonStatus) -> Iterator[Metric]:
    up = GaugeMetricFamily("fer_edge_sink_up", "Whether the last attempt to write or send succeeded.", labels=["sink"])
    waiting = GaugeMetricFamily("fer_edge_sink_events_waiting", "Events waiting to be sent.", labels=["sink"])
    sent = CounterMetricFamily("fer_edge_sink_events_sent", "Events sent.", labels=["sink"])
    dropped = CounterMetricFamily("fer_edge_sink_events_dropped", "Events dropped.", labels=["sink"])
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
