"""Prometheus metrics of the daemon's status. Needs prometheus-client (extra ``web``)."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from itertools import chain
from typing import Generic, TypeVar

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from fer_edge.status import DaemonStatus
from fer_edge.types import LATENCY_LIMITS_S
from fer_edge.web.health import Condition, apply_privacy, condition, health, is_aggregate

T = TypeVar("T")
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

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        status = apply_privacy(self._snapshot())
        for metric in chain(
            _process_metrics(status, self._stale_after_s),
            _chip_metrics(status),
            _source_metrics(status, self._stale_after_s),
            _pipeline_metrics(status),
            _sink_metrics(status),
        ):
            metric.samples = [sample._replace(labels=_as_utf8(sample.labels)) for sample in metric.samples]
            yield metric


def _as_utf8(labels: dict[str, str]) -> dict[str, str]:
    """Replace invalid characters; file names may hold arbitrary bytes."""
    return {name: value.encode("utf-8", "replace").decode("utf-8") for name, value in labels.items()}


def _gauge(name: str, what: str, value: float) -> Metric:
    return GaugeMetricFamily(name, what, float(value))


@dataclass(frozen=True, slots=True)
class _Each(Generic[T]):
    """Make metrics with one sample for each of ``items``: pairs of the value of ``label``, and what is measured."""

    label: str
    items: Sequence[tuple[str, T]]

    def gauge(self, name: str, what: str, value: Callable[[T], float | None]) -> Metric:
        """Return a gauge; items for which ``value`` is None have no sample."""
        return self._filled(GaugeMetricFamily(name, what, labels=[self.label]), value)

    def counter(self, name: str, what: str, value: Callable[[T], float | None]) -> Metric:
        """Return a counter, likewise."""
        return self._filled(CounterMetricFamily(name, what, labels=[self.label]), value)

    def _filled(self, family: GaugeMetricFamily | CounterMetricFamily, value: Callable[[T], float | None]) -> Metric:
        for key, item in self.items:
            number = value(item)
            if number is not None:
                family.add_metric([key], float(number))
        return family


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
        yield CounterMetricFamily("fer_edge_cpu_seconds", "Processor time of the process.", cpu_s)
    resident = [runtime.rss_mb for runtime in runtimes if not math.isnan(runtime.rss_mb)]
    if resident:
        yield _gauge("fer_edge_resident_memory_bytes", "Resident memory of the process.", max(resident) * _MIB)


def _chip_metrics(status: DaemonStatus) -> Iterator[Metric]:
    chip = status.chip
    if chip.temperature_c is not None:
        yield _gauge("fer_edge_chip_temperature_celsius", "Temperature of the chip.", chip.temperature_c)
    each = _Each("reason", [(reason, reason) for reason in sorted({*chip.throttled, *chip.throttled_before})])
    yield each.gauge(
        "fer_edge_chip_throttled",
        "Reasons for which the chip is throttled now.",
        lambda reason: reason in chip.throttled,
    )
    yield each.gauge(
        "fer_edge_chip_throttled_since_boot",
        "Reasons for which the chip was throttled since boot.",
        lambda reason: reason in chip.throttled_before,
    )
    what = "Share of the search budget in use, lowered when the chip is hot."
    yield _gauge("fer_edge_chip_budget_ratio", what, chip.budget_share)


def _source_metrics(status: DaemonStatus, stale_after_s: float) -> Iterator[Metric]:
    found = {source.name: condition(source, status.mono, stale_after_s) for source in status.sources}
    each = _Each("source", [(source.name, source) for source in status.sources])
    yield each.gauge(
        "fer_edge_source_up",
        "Whether the source delivers frames and they are processed.",
        lambda source: found[source.name].delivers and source.last_frame_at is not None,
    )
    yield each.gauge(
        "fer_edge_source_dark",
        "Whether frames arrive but are too dark to detect faces.",
        lambda source: found[source.name] is Condition.DARK,
    )
    yield each.gauge(
        "fer_edge_source_frames_per_second",
        "Frames processed per second, recent average.",
        lambda source: source.fps if found[source.name].delivers else 0.0,
    )
    yield each.gauge(
        "fer_edge_source_last_frame_age_seconds",
        "Time since the newest frame was processed.",
        lambda source: None if source.last_frame_at is None else max(0.0, status.mono - source.last_frame_at),
    )
    yield each.counter("fer_edge_source_lost", "How often the source was lost.", lambda source: source.lost)
    yield each.counter(
        "fer_edge_source_reconnect_attempts", "Attempts to reopen the source.", lambda source: source.attempts
    )
    if not is_aggregate(status):
        yield each.gauge(
            "fer_edge_source_faces_in_sight",
            "Faces currently tracked.",
            lambda source: len(source.tracks) if found[source.name].delivers else 0,
        )


def _pipeline_metrics(status: DaemonStatus) -> Iterator[Metric]:
    runtimes = [(source.name, source.runtime) for source in status.sources if source.runtime]
    each = _Each("source", runtimes)
    yield each.counter("fer_edge_frames", "Frames processed.", lambda runtime: runtime.frames)
    what = "Frames not processed because they were damaged or a newer one had arrived."
    yield each.counter("fer_edge_frames_dropped", what, lambda runtime: runtime.dropped)
    if not is_aggregate(status):
        what = "Detections; a face counts each time it is detected."
        yield each.counter("fer_edge_faces_detected", what, lambda runtime: runtime.faces)
        yield each.counter("fer_edge_events", "Events emitted.", lambda runtime: runtime.events)
        refused = CounterMetricFamily(
            "fer_edge_crops_refused", "Face crops not classified, by reason.", labels=["source", "reason"]
        )
        for source, runtime in runtimes:
            for reason, count in runtime.refused.items():
                refused.add_metric([source, reason], count)
        yield refused
    stages = HistogramMetricFamily(
        "fer_edge_stage_duration_seconds", "Time taken by each stage of the pipeline.", labels=["source", "stage"]
    )
    limits = [f"{limit:g}" for limit in LATENCY_LIMITS_S]
    for source, runtime in runtimes:
        for stage, latency in runtime.stages.items():
            buckets = [*zip(limits, map(float, latency.within), strict=True), ("+Inf", float(latency.calls))]
            stages.add_metric([source, stage], buckets, latency.total_s)
    yield stages


def _sink_metrics(status: DaemonStatus) -> Iterator[Metric]:
    each = _Each("sink", [(sink.name, sink) for sink in status.sinks])
    what = "Whether the last attempt to write or send succeeded."
    yield each.gauge("fer_edge_sink_up", what, lambda sink: sink.working)
    yield each.gauge("fer_edge_sink_events_waiting", "Events waiting to be sent.", lambda sink: sink.waiting)
    yield each.counter("fer_edge_sink_events_sent", "Events sent.", lambda sink: sink.sent)
    yield each.counter("fer_edge_sink_events_dropped", "Events dropped.", lambda sink: sink.dropped)
