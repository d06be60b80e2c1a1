"""Events for people: one readable line each."""

from __future__ import annotations

from typing import TextIO

from fer_edge.errors import OutputError
from fer_edge.sinks.base import ClosingSink
from fer_edge.types import UNCERTAIN, EmotionEvent


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


def event_line(event: EmotionEvent) -> str:
    """Such as ``   3.20 s  demo  face 1  changed   neutral -> happy  71 %``."""
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
    return "  ".join(parts).rstrip()
