"""Events for people: one readable line each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TextIO

from fer_edge.errors import OutputError
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.sinks.base import ClosingSink, ManagedSink
from fer_edge.sinks.line_file import STANDARD_OUTPUT, LineFile
from fer_edge.sinks.pace import Pace
from fer_edge.sinks.queued import managed
from fer_edge.status import StatusBoard
from fer_edge.types import UNCERTAIN, EmotionEvent, FaceCounts


class ConsoleSink(ClosingSink):
    """Writes to ``stream``, flushed line by line so that a journal or a pipe sees each event at once."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def emit(self, event: EmotionEvent) -> None:
        """Write one line. Raises OutputError; BrokenPipeError when the reader has gone."""
        try:
            self._stream.write(event_line(event) + "\n")
            self._stream.flush()
        except BrokenPipeError:
            raise
        except OSError as error:
            raise OutputError(f"standard output: cannot write: {error.strerror}") from error


class ConsoleLines(ClosingSink):
    """The same lines, for a queue: written past Python's own buffer, whose lock a stuck reader would hold."""

    def __init__(self) -> None:
        self._file = LineFile(STANDARD_OUTPUT)

    def encode(self, event: EmotionEvent) -> bytes:
        """The line of ``event``, UTF-8."""
        return event_line(event).encode("utf-8", "backslashreplace") + b"\n"

    def carry(self, lines: Sequence[bytes]) -> int:
        """Write ``lines``; returns how many. Raises OutputError; BrokenPipeError when the reader has gone."""
        return self._file.write(lines)

    def close(self) -> None:
        """Standard output stays open."""
        self._file.close()


def open_console(settings: RuntimeSettings, board: StatusBoard, pace: Pace) -> ManagedSink | None:
    """Standard output, unless the JSON lines go there."""
    if settings.output.events == STANDARD_OUTPUT:
        return None
    return managed(ConsoleLines(), "console", settings, board, pace=pace)


def event_line(event: EmotionEvent) -> str:
    """Such as ``   3.20 s  demo  face 1  changed   neutral -> happy  71 %``.

    >>> from fer_edge import EmotionEvent, EventKind
    >>> event_line(EmotionEvent(EventKind.APPEARED, "door", 1.7e9, 3.2, 1, "happy", confidence=0.83))
    '    3.20 s  door  face 1  appeared  happy  83%'
    """
    parts = [f"{event.mono:8.2f} s", event.source]
    if event.track_id is not None:
        parts.append(f"face {event.track_id}")
    parts.append(f"{event.kind.value:<8}")
    if event.emotion is not None:
        before = f"{event.previous} -> " if event.previous is not None else ""
        parts.append(before + event.emotion)
    elif event.previous is not None:
        parts.append(f"was {event.previous}")
    if event.confidence is not None and event.emotion != UNCERTAIN:
        parts.append(f"{event.confidence:.0%}")
    if event.counts is not None:
        parts.append(_counts_line(event.counts))
    return "  ".join(parts).rstrip()


def _counts_line(counts: FaceCounts) -> str:
    seen = "  ".join(f"{emotion} {seconds:.0f} s" for emotion, seconds in sorted(counts.emotion_s.items()))
    return f"{counts.appeared} appeared, {counts.most_at_once} at once  {seen}".rstrip()
