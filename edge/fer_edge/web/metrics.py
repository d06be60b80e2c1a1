"""Prometheus metrics of the daemon's status. Needs prometheus-client (extra ``web``)."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily as Counter
from prometheus_client.core import GaugeMetricFamily as Gauge
from prometheus_client.core import HistogramMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from fer_edge.status import DaemonStatus, SourceState, SourceStatus, StatusBoard
from fer_edge.system.version import __version__
from fer_edge.types import LATENCY_LIMITS_S, ZoneTotals
from fer_edge.web.health import apply_privacy, health, is_aggregate, with_stalled

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_MIB = 2**20

_Kinds = Mapping[str, tuple[type[Gauge] | type[Counter], str]]
_OF_REASON: _Kinds = {
    "fer_edge_chip_throttled": (Gauge, "Reasons for which the chip is throttled now."),
    "fer_edge_chip_throttled_since_boot": (Gauge, "Reasons for which the chip was throttled since boot."),
}
_OF_SOURCE: _Kinds = {
    "fer_edge_source_up": (Gauge, "Whether the source delivers frames and they are processed."),
    "fer_edge_source_paused": (Gauge, "Whether it is closed on request."),
    "fer_edge_source_dark": (Gauge, "Whether frames arrive but are too dark to detect faces."),
    "fer_edge_source_frames_per_second": (Gauge, "Frames processed per second, recent average."),
    "fer_edge_source_last_frame_age_seconds": (Gauge, "Time since the newest frame was processed."),
    "fer_edge_source_lost": (Counter, "How often the source was lost."),
    "fer_edge_source_reconnect_attempts": (Counter, "Attempts to reopen the source."),
    "fer_edge_source_faces_in_sight": (Gauge, "Faces in view, with hysteresis if presence.enabled is on."),
    "fer_edge_frames": (Counter, "Frames processed."),
    "fer_edge_frames_dropped": (
        Counter,
        "Frames not processed because they were damaged or a newer one had arrived.",
    ),
    "fer_edge_faces_detected": (Counter, "Detections; a face counts each time it is detected."),
    "fer_edge_events": (Counter, "Events emitted."),
}
_OF_FACES = ("fer_edge_source_faces_in_sight", "fer_edge_faces_detected", "fer_edge_events")
"""Omitted with privacy ``aggregate``."""
_OF_ZONE: _Kinds = {
    "fer_edge_zone_faces_in_sight": (Gauge, "Faces currently in the zone."),
    "fer_edge_zone_faces_entered": (Counter, "Faces that came into the zone."),
}
"""Omitted with privacy ``aggregate``, as is ``fer_edge_zone_emotion_seconds``."""
_OF_SINK: _Kinds = {
    "fer_edge_sink_up": (Gauge, "Whether the last attempt to write or send succeeded."),
    "fer_edge_sink_events_waiting": (Gauge, "Events waiting to be sent."),
    "fer_edge_sink_events_sent": (Counter, "Events sent."),
    "fer_edge_sink_events_dropped": (Counter, "Events dropped."),
}


class StatusMetrics(Collector):
    """Collect metrics from a new status snapshot for each request. They hold no data of single faces."""

    def __init__(self, board: StatusBoard, stale_after_s: float) -> None:
        self._board, self._stale_after_s = board, stale_after_s
        self._registry = CollectorRegistry(auto_describe=False)
        self._registry.register(self)

    def text(self) -> bytes:
        """Return all metrics in the Prometheus text format."""
        return generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics."""
        status = with_stalled(apply_privacy(self._board.snapshot()), self._stale_after_s)
        for metric in chain(
            _process_metrics(status),
            _chip_metrics(status),
            _source_metrics(status),
            () if is_aggregate(status) else _zone_metrics(status),
            _stage_metrics(status),
            _sink_metrics(status),
        ):
            metric.samples = [sample._replace(labels=_as_utf8(sample.labels)) for sample in metric.samples]
            yield metric


def _as_utf8(labels: dict[str, str]) -> dict[str, str]:
    """Replace invalid characters; file names may hold arbitrary bytes."""
    return {name: value.encode("utf-8", "replace").decode("utf-8") for name, value in labels.items()}


def _gauge(name: str, what: str, value: float) -> Metric:
    return Gauge(name, what, float(value))


def _process_metrics(status: DaemonStatus) -> Iterator[Metric]:
    model = status.model
    yield InfoMetricFamily(
        "fer_edge_build",
        "Version of the program and of the model.",
        {
            "version": __version__,
            "bundle": model.name,
            "bundle_version": model.version,
            "variant": model.variant,
        },
    )
    if status.update is not None:
        update = status.update
        labels = {"phase": update.phase, "candidate": update.candidate or "", "offered": update.offered or ""}
        yield InfoMetricFamily("fer_edge_update", "Update of the model, with how far it has come.", labels)
        failing = update.problem is not None
        yield _gauge("fer_edge_update_failing", "Whether the last check or step of an update failed.", failing)
    yield _gauge("fer_edge_ready", "Whether the model is loaded and every source has been started.", status.ready)
    healthy = health(status).healthy
    yield _gauge("fer_edge_healthy", "Whether frames are being processed, as in /healthz.", healthy)
    yield _gauge("fer_edge_start_time_seconds", "Start time, seconds since the epoch.", status.started_at)
    yield _gauge("fer_edge_uptime_seconds", "Time since the start, by the monotonic clock.", status.uptime_s)
    # Each source's status has the figures of the whole process.
    runtimes = [source.runtime for source in status.sources if source.runtime]
    if runtimes:
        cpu_s = max(runtime.cpu_s for runtime in runtimes)
        yield Counter("fer_edge_cpu_seconds", "Processor time of the process.", cpu_s)
    resident = [runtime.rss_mb for runtime in runtimes if not math.isnan(runtime.rss_mb)]
    if resident:
        yield _gauge("fer_edge_resident_memory_bytes", "Resident memory of the process.", max(resident) * _MIB)


def _chip_metrics(status: DaemonStatus) -> Iterator[Metric]:
    chip = status.chip
    if chip.temperature_c is not None:
        yield _gauge("fer_edge_chip_temperature_celsius", "Temperature of the chip.", chip.temperature_c)
    reasons = {
        reason: {
            "fer_edge_chip_throttled": reason in chip.throttled,
            "fer_edge_chip_throttled_since_boot": reason in chip.throttled_before,
        }
        for reason in sorted({*chip.throttled, *chip.throttled_before})
    }
    yield from _labelled("reason", _OF_REASON, reasons)
    what = "Share of the search budget in use, lowered when the chip is hot."
    yield _gauge("fer_edge_chip_budget_ratio", what, chip.budget_share)


def _source_metrics(status: DaemonStatus) -> Iterator[Metric]:
    hidden = _OF_FACES if is_aggregate(status) else ()
    kinds = {name: kind for name, kind in _OF_SOURCE.items() if name not in hidden}
    values = {source.name: _source_values(source, status.mono) for source in status.sources}
    yield from _labelled("source", kinds, values)


def _source_values(source: SourceStatus, now: float) -> dict[str, float]:
    state, newest, runtime = source.state, source.last_frame_at, source.runtime
    values = {
        "fer_edge_source_up": state.delivers and newest is not None,
        "fer_edge_source_dark": state is SourceState.DARK,
        "fer_edge_source_paused": state is SourceState.PAUSED,
        "fer_edge_source_frames_per_second": source.fps if state.delivers else 0.0,
        "fer_edge_source_lost": source.lost,
        "fer_edge_source_reconnect_attempts": source.attempts,
        "fer_edge_source_faces_in_sight": source.faces,
    }
    if newest is not None:
        values["fer_edge_source_last_frame_age_seconds"] = max(0.0, now - newest)
    if runtime is not None:
        values["fer_edge_frames"], values["fer_edge_frames_dropped"] = runtime.frames, runtime.dropped
        values["fer_edge_faces_detected"], values["fer_edge_events"] = runtime.faces, runtime.events
    return values


def _zone_metrics(status: DaemonStatus) -> Iterator[Metric]:
    families = {name: kind(name, what, labels=["source", "zone"]) for name, (kind, what) in _OF_ZONE.items()}
    seconds = Counter(
        "fer_edge_zone_emotion_seconds", "Seconds of each emotion in the zone.", labels=["source", "zone", "emotion"]
    )
    for source in status.sources:
        totals = source.runtime.zones if source.runtime else {}
        for zone, faces in source.zone_faces.items():
            total = totals.get(zone, ZoneTotals())
            families["fer_edge_zone_faces_in_sight"].add_metric([source.name, zone], faces)
            families["fer_edge_zone_faces_entered"].add_metric([source.name, zone], total.entered)
            for emotion, time_s in total.emotion_s.items():
                seconds.add_metric([source.name, zone, emotion], time_s)
    if any(source.zones for source in status.sources):
        yield from (*families.values(), seconds)


def _stage_metrics(status: DaemonStatus) -> Iterator[Metric]:
    refused = Counter("fer_edge_crops_refused", "Face crops not classified, by reason.", labels=["source", "reason"])
    stages = HistogramMetricFamily(
        "fer_edge_stage_duration_seconds", "Time taken by each stage of the pipeline.", labels=["source", "stage"]
    )
    limits = [f"{limit:g}" for limit in LATENCY_LIMITS_S]
    for source in status.sources:
        if source.runtime is None:
            continue
        for reason, count in source.runtime.refused.items():
            refused.add_metric([source.name, reason], count)
        for stage, latency in source.runtime.stages.items():
            buckets = [*zip(limits, map(float, latency.within), strict=True), ("+Inf", float(latency.calls))]
            stages.add_metric([source.name, stage], buckets, latency.total_s)
    if not is_aggregate(status):
        yield refused
    yield stages


def _sink_metrics(status: DaemonStatus) -> Iterator[Metric]:
    sinks = {
        sink.name: {
            "fer_edge_sink_up": sink.working,
            "fer_edge_sink_events_waiting": sink.waiting,
            "fer_edge_sink_events_sent": sink.sent,
            "fer_edge_sink_events_dropped": sink.dropped,
        }
        for sink in status.sinks
    }
    yield from _labelled("sink", _OF_SINK, sinks)


def _labelled(label: str, kinds: _Kinds, values: Mapping[str, Mapping[str, float]]) -> Iterable[Metric]:
    """Return the metrics of ``kinds``, with a sample for each value of ``label`` that has one."""
    families = {name: kind(name, what, labels=[label]) for name, (kind, what) in kinds.items()}
    for key, samples in values.items():
        for name in families.keys() & samples.keys():
            families[name].add_metric([key], float(samples[name]))
    return families.values()
