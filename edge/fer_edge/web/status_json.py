"""JSON objects of /api/status (see ``schema/status.schema.json``) and /api/history."""

from __future__ import annotations

import math
import socket
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fer_edge.recording.trace import stages_table
from fer_edge.settings.redaction import redacted
from fer_edge.sinks.event_json import time_text
from fer_edge.status import DaemonStatus, SourceState, SourceStatus, UpdateStatus
from fer_edge.system.version import __version__
from fer_edge.types import EmotionEvent, RuntimeStatus, ZoneTotals
from fer_edge.web.health import apply_privacy, health, is_aggregate, with_stalled
from fer_edge.web.history import History

_MAX_EVENTS = 50
"""Recent events in the status, newest first."""
_NO_RUNTIME = RuntimeStatus(0, 0, 0, 0, 0, 0.0, 0.0, 0.0, math.nan)


def status_object(status: DaemonStatus, stale_after_s: float, *, preview: bool) -> dict[str, Any]:
    """Return ``status`` for ``json_response``; with privacy ``aggregate``, without data of single faces."""
    status = with_stalled(apply_privacy(status), stale_after_s)
    checked = health(status)
    runtimes = [source.runtime for source in status.sources if source.runtime]
    memory = [runtime.rss_mb for runtime in runtimes if not math.isnan(runtime.rss_mb)]
    return {
        "v": 1,
        "host": socket.gethostname(),
        "version": __version__,
        "uptime_s": round(status.uptime_s, 1),
        "ready": status.ready,
        "healthy": checked.healthy,
        "reasons": checked.reasons,
        "privacy": status.privacy,
        "preview": preview,
        "recording": status.recording,
        "model": status.model,
        "update": None if status.update is None else _update(status.update),
        "interpreter": next((runtime.interpreter for runtime in runtimes if runtime.interpreter), None),
        "memory_bytes": round(max(memory) * 2**20) if memory else None,
        "chip": replace(status.chip, budget_share=round(status.chip.budget_share, 3)),
        "sources": [_source(source, status) for source in status.sources],
        "sinks": [
            replace(sink, name=redacted(sink.name), problem=redacted(sink.problem) if sink.problem else None)
            for sink in status.sinks
        ],
        "events": [_event(event) for event in status.recent[: -_MAX_EVENTS - 1 : -1]],
    }


def history_object(history: History, labels: Sequence[str]) -> dict[str, Any]:
    """Return the last hour: for each interval, oldest first, seconds of each emotion summed over all faces."""
    intervals = history.intervals(time.monotonic())
    seen = {emotion for interval in intervals for emotion in interval.seconds}
    emotions = [*labels, *sorted(seen - set(labels))]
    return {
        "v": 1,
        "interval_s": history.interval_s,
        "emotions": emotions,
        "intervals": [
            {
                "ended_ago_s": round(interval.ended_ago_s, 1),
                "watched_s": round(interval.watched_s, 1),
                "seconds": [round(interval.seconds.get(emotion, 0.0), 1) for emotion in emotions],
            }
            for interval in intervals
        ],
    }


def _update(update: UpdateStatus) -> UpdateStatus:
    agreement = None if update.agreement is None else round(update.agreement, 4)
    return replace(update, agreement=agreement, problem=redacted(update.problem) if update.problem else None)


def _source(source: SourceStatus, status: DaemonStatus) -> dict[str, Any]:
    watching, newest = source.state.delivers, source.last_frame_at
    # A stalled source has been out since its last frame, not since its last change of state.
    since = newest if source.state is SourceState.STALLED and newest is not None else source.since
    faces = [
        {
            "track": track.track_id,
            "emotion": track.emotion,
            "confidence": round(track.confidence, 3),
            "zone": track.zone,
            "valence": track.valence,
            "arousal": track.arousal,
        }
        for track in (source.tracks if watching else ())
    ]
    anonymous, runtime = is_aggregate(status), source.runtime or _NO_RUNTIME
    return {
        "name": source.name,
        "state": source.state.value,
        "since_s": round(max(0.0, status.mono - since), 1),
        "reason": redacted(source.reason) if source.reason else None,
        "lost": source.lost,
        "attempts": source.attempts,
        "size": source.size,
        "last_frame_age_s": None if newest is None else round(max(0.0, status.mono - newest), 2),
        "fps": round(source.fps, 2) if watching else 0.0,
        "faces": None if anonymous else faces,
        "present": None if anonymous or source.presence is None else source.faces,
        "zones": None if anonymous else _zones(source, runtime),
        "frames": runtime.frames,
        "dropped": runtime.dropped,
        "events": None if anonymous else runtime.events,
        "refused": runtime.refused,
        "stages": stages_table(runtime),
    }


def _zones(source: SourceStatus, runtime: RuntimeStatus) -> list[dict[str, Any]]:
    zones = ((name, faces, runtime.zones.get(name, ZoneTotals())) for name, faces in source.zone_faces.items())
    return [
        {
            "name": name,
            "faces": faces,
            "entered": total.entered,
            "emotion_s": {emotion: round(seconds, 1) for emotion, seconds in total.emotion_s.items()},
        }
        for name, faces, total in zones
    ]


def _event(event: EmotionEvent) -> dict[str, Any]:
    return {
        "kind": event.kind,
        "source": event.source,
        "track": event.track_id,
        "emotion": event.emotion,
        "previous": event.previous,
        "confidence": None if event.confidence is None else round(event.confidence, 3),
        "reason": redacted(event.reason) if event.reason else None,
        "counts": event.counts,
        "zone": event.zone,
        "faces": event.faces,
        "at": time_text(event.at),
    }
