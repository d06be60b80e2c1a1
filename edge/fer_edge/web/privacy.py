"""Status for page and metrics with ``output.privacy = "aggregate"``: nothing about a person or a single moment."""

from __future__ import annotations

from dataclasses import replace

from fer_edge.status import DaemonStatus, SourceStatus

_FACE_STAGES = ("detect_region", "crop", "classify", "age_at_event")
"""Stages that run only for a face: their number of calls reveals when someone was present."""


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
