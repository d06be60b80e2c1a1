"""What page and metrics may tell with ``output.privacy = "aggregate"``: nothing of a person, nor of a moment."""

from __future__ import annotations

from dataclasses import replace

from fer_edge.status import DaemonStatus, SourceStatus

_OF_FACES = ("detect_region", "crop", "classify", "age_at_event")
"""Stages that run for a face alone: how often they ran tells when somebody was there."""


def for_eyes(status: DaemonStatus) -> DaemonStatus:
    """``status``, and in ``aggregate`` without what follows any one face.

    The counts of faces found and of events, which stay in it, are the caller's to leave out: see ``is_aggregate``.
    """
    if not is_aggregate(status):
        return status
    return replace(
        status,
        sources=tuple(_of_no_face(source) for source in status.sources),
        recent=tuple(event for event in status.recent if event.track_id is None),
    )


def is_aggregate(status: DaemonStatus) -> bool:
    """Whether only what everybody did together in an interval may be told."""
    return status.privacy == "aggregate"


def _of_no_face(source: SourceStatus) -> SourceStatus:
    runtime = source.runtime
    if runtime is not None:
        stages = {name: latency for name, latency in runtime.stages.items() if name not in _OF_FACES}
        runtime = replace(runtime, faces=0, events=0, refused={}, stages=stages)
    return replace(source, tracks=(), runtime=runtime)
