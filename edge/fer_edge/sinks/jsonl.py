"""Write events as JSON lines to a file or standard output."""

from __future__ import annotations

from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.base import ManagedSink
from fer_edge.sinks.event_json import event_json_line
from fer_edge.sinks.line_file import LineFile
from fer_edge.sinks.pace import Pace
from fer_edge.sinks.queued import Batching, managed
from fer_edge.status import StatusBoard

_MIB = 2**20


def open_events_file(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    """Open the sink of ``output.events``; None if it is not set. Raises OutputError."""
    output = settings.output
    if output.events is None:
        return None
    max_bytes = None if output.events_max_mib is None else int(output.events_max_mib * _MIB)
    sync_s = output.events_max_unsynced_s
    file = LineFile(output.events, max_bytes=max_bytes, keep=output.events_max_rotated, synced=sync_s is not None)
    batching = Batching(output.events_max_buffered_s, None if sync_s is None else file.sync, sync_s or 0.0)
    return managed(file, event_json_line, "events", settings, board, pace=pace, batching=batching)
