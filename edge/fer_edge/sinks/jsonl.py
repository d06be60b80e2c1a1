"""Events for programs: one JSON object a line, appended to a file or written to standard output."""

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
    """Appends to ``target`` (a file, or ``-``); ``encode`` turns an event into the object to write.

    ``max_bytes`` and ``keep`` bound the file and the rotated ones, and ``synced`` says that ``sync`` will be called, as
    for ``LineFile``. Raises OutputError.
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
        """Write one line. Raises OutputError; BrokenPipeError when the reader has gone."""
        self.carry([self.encode(event)])

    def encode(self, event: EmotionEvent) -> bytes:
        """The line of ``event``."""
        return json_line(self._encode(event)) + b"\n"

    def carry(self, lines: Sequence[bytes]) -> int:
        """Write the first of ``lines``; returns how many. Raises as ``emit`` does."""
        return self._file.write(lines)

    def sync(self) -> None:
        """Return once the written lines are on the disk. Raises OutputError."""
        self._file.sync()

    def close(self) -> None:
        """Close the file; standard output stays open."""
        self._file.close()


def json_line(value: Mapping[str, Any]) -> bytes:
    """``value`` as compact JSON, UTF-8; what cannot be written so, as in a file name of odd bytes, is escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def open_events_file(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    """What ``output.events`` names. Raises OutputError."""
    output = settings.output
    if output.events is None:
        return None
    most = None if output.events_max_mib is None else int(output.events_max_mib * _MIB)
    synced = output.events_sync_s is not None
    sink = JsonLinesSink(output.events, event_to_json, max_bytes=most, keep=output.events_keep, synced=synced)
    sync = None if output.events_sync_s is None else Sync(sink.sync, output.events_sync_s)
    return managed(sink, "events", settings, board, pace=pace, gather_s=output.events_gather_s, sync=sync)
