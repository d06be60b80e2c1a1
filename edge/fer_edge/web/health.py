"""What the page and the metrics derive from a ``DaemonStatus``: health, and what privacy ``aggregate`` removes."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from fer_edge.settings.redaction import redacted
from fer_edge.settings.source import SourceSettings
from fer_edge.status import DaemonStatus, SourceState, SourceStatus

STALE_AFTER_S = 30.0
"""Default age of the newest frame at which a source counts as stalled; see ``stale_after``."""
_SLACK_S = 5.0
"""Time to detect a lost source beyond ``source.timeout_s``."""
_FACE_STAGES = ("detect_region", "crop", "classify", "age_at_event")
"""Stages that run only for a face: their number of calls reveals when someone was present."""


class Health(NamedTuple):
    """Result of a health check.

    Attributes:
        healthy: True if one or more sources deliver frames and none has stalled. A lost source does not make the
            daemon unhealthy while another one delivers, because a restart would not bring it back. One that is paused
            on request is not expected to deliver.
        reasons: One line for each source that does not deliver frames, even if ``healthy`` is true.
    """

    healthy: bool
    reasons: tuple[str, ...]


def stale_after(source: SourceSettings) -> float:
    """Return the seconds without a frame after which a watching source counts as stalled.

    Longer than ``timeout_s``, after which a source is reported as lost, plus the time of one frame at ``max_fps``.
    """
    return source.timeout_s + (1.0 / source.max_fps if source.max_fps else 0.0) + _SLACK_S


def with_stalled(status: DaemonStatus, stale_after_s: float) -> DaemonStatus:
    """Return ``status`` in which a source that should deliver frames, but whose newest frame is old, is ``STALLED``."""
    sources = tuple(
        replace(source, state=SourceState.STALLED)
        # One that was just opened has no frame yet.
        if source.state.delivers and status.mono - max(source.since, source.last_frame_at or 0.0) > stale_after_s
        else source
        for source in status.sources
    )
    return replace(status, sources=sources)


def health(status: DaemonStatus) -> Health:
    """Return whether the daemon makes progress, from the states of its sources; ``status`` is from ``with_stalled``."""
    sources = [source for source in status.sources if source.state is not SourceState.PAUSED]
    if status.sources and not sources:
        return Health(True, ())
    delivering = any(source.state.delivers and source.last_frame_at is not None for source in sources)
    stalled = any(source.state is SourceState.STALLED for source in sources)
    reasons = [_reason(source, status.mono) for source in sources if not source.state.delivers]
    if not delivering:
        reasons.insert(0, "no source delivers frames")
    return Health(delivering and not stalled, tuple(reasons))


def _reason(source: SourceStatus, now: float) -> str:
    name = redacted(source.name)
    if source.state is SourceState.STALLED:
        newest = source.since if source.last_frame_at is None else source.last_frame_at
        return f"{name}: stalled, no frame for {now - newest:.0f} s"
    why = f": {redacted(source.reason)}" if source.reason else ""
    return f"{name}: {source.state.value} for {max(0.0, now - source.since):.0f} s{why}"


def apply_privacy(status: DaemonStatus) -> DaemonStatus:
    """Return ``status``; with ``aggregate``, without tracks, events of tracks and counts that depend on faces.

    The counts of faces and events become 0. Callers that must distinguish this from a true 0 check ``is_aggregate``.
    """
    if not is_aggregate(status):
        return status
    return replace(
        status,
        sources=tuple(_without_faces(source) for source in status.sources),
        recent=tuple(event for event in status.recent if event.track_id is None),
    )


def is_aggregate(status: DaemonStatus) -> bool:
    """Return whether only sums over all faces and an interval may be published."""
    return status.privacy == "aggregate"


def _without_faces(source: SourceStatus) -> SourceStatus:
    runtime = source.runtime
    if runtime is not None:
        stages = {name: latency for name, latency in runtime.stages.items() if name not in _FACE_STAGES}
        runtime = replace(runtime, faces=0, events=0, refused={}, stages=stages)
    return replace(source, tracks=(), runtime=runtime)
