"""Write events as JSON lines to a file or standard output."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fer_edge.protocols import ClosingSink
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.base import ManagedSink
from fer_edge.sinks.event_json import event_to_json
from fer_edge.sinks.line_file import LineFile
from fer_edge.sinks.pace import Pace
from fer_edge.sinks.queued import Sync, managed
from fer_edge.status import StatusBoard
from fer_edge.types import EmotionEvent

_MIB = 2**20


class JsonLinesSink(ClosingSink):
    """Append events to a file as JSON lines.

    Args:
        target: A file, or ``-`` for standard output.
        encode: Returns the object to write for an event.
        max_bytes, keep, synced: As for ``LineFile``.

    Raises:
        OutputError: if the file cannot be opened.
    """

    def __init__(
        self,
        target: str,
        encode: Callable[[EmotionEvent], Mapping[str, Any]],
        *,
        max_bytes: int | None = None,
        keep: int = 1,
        synced: bool = False,
    ) -> None:
        self._encode = encode
        self._file = LineFile(target, max_bytes=max_bytes, keep=keep, synced=synced)

    def emit(self, event: EmotionEvent) -> None:
        """Write one line. Raises OutputError; BrokenPipeError if the reader has closed the pipe."""
        self.send([self.encode(event)])

    def encode(self, event: EmotionEvent) -> bytes:
        """Return the line of ``event``."""
        return json_line(self._encode(event)) + b"\n"

    def send(self, lines: Sequence[bytes]) -> int:
        """Write the first of ``lines`` and return their number. Raises the same errors as ``emit``."""
        return self._file.write(lines)

    def sync(self) -> None:
        """Wait until the written lines are on the disk. Raises OutputError."""
        self._file.sync()

    def close(self) -> None:
        """Close the file; standard output stays open."""
        self._file.close()


def json_line(value: Mapping[str, Any]) -> bytes:
    """Return ``value`` as compact JSON in UTF-8. Surrogates, as in file names that are not UTF-8, are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def open_events_file(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    """Open the sink of ``output.events``; None if it is not set. Raises OutputError."""
    output = settings.output
    if output.events is None:
        return None
    max_bytes = None if output.events_max_mib is None else int(output.events_max_mib * _MIB)
    synced = output.events_sync_s is not None
    sink = JsonLinesSink(output.events, event_to_json, max_bytes=max_bytes, keep=output.events_keep, synced=synced)
    sync = None if output.events_sync_s is None else Sync(sink.sync, output.events_sync_s)
    return managed(sink, "events", settings, board, pace=pace, gather_s=output.events_gather_s, sync=sync)
