"""Events for programs: one JSON object a line, appended to a file or written to standard output."""

from __future__ import annotations

import json
import os
import stat
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from fer_edge.errors import OutputError
from fer_edge.sinks.base import ClosingSink
from fer_edge.types import EmotionEvent

STANDARD_OUTPUT = "-"


class JsonLinesSink(ClosingSink):
    """Appends to ``target`` (a file, or ``-``); ``encode`` turns an event into the object to write.

    Each line is one write to the file, so that a reader never sees half of one; when the disk is full the
    part that was written is taken back. Raises OutputError.
    """

    def __init__(self, target: str, encode: Callable[[EmotionEvent], Mapping[str, Any]]) -> None:
        self._encode = encode
        self._where = "standard output" if target == STANDARD_OUTPUT else target
        self._descriptor: int | None = None
        if target == STANDARD_OUTPUT:
            sys.stdout.flush()
            self._descriptor = os.dup(sys.stdout.fileno())
        else:
            try:
                self._descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666)
            except OSError as error:
                raise OutputError(f"{target}: cannot open it for writing: {error.strerror}") from error
        self._regular = stat.S_ISREG(os.fstat(self._descriptor).st_mode)
        self._close_last_line(Path(target))

    def emit(self, event: EmotionEvent) -> None:
        """Write one line. Raises OutputError; BrokenPipeError when the reader has gone."""
        line = json.dumps(self._encode(event), ensure_ascii=False, separators=(",", ":"))
        self._write(line.encode("utf-8") + b"\n")

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _write(self, data: bytes) -> None:
        assert self._descriptor is not None, "the sink is closed"
        size = os.fstat(self._descriptor).st_size if self._regular else 0
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
        except BrokenPipeError:
            raise
        except OSError as error:
            if self._regular:
                os.ftruncate(self._descriptor, size)
            raise OutputError(f"{self._where}: cannot write the event: {error.strerror}") from error

    def _close_last_line(self, path: Path) -> None:
        """End a line that an earlier process, cut off by a power failure, left without its end."""
        if not self._regular or not path.is_file() or path.stat().st_size == 0:
            return
        try:
            with path.open("rb") as stream:
                stream.seek(-1, os.SEEK_END)
                unfinished = stream.read(1) != b"\n"
        except PermissionError:  # may be written but not read; then nothing can be known
            return
        if unfinished:
            self._write(b"\n")
