"""What every sink offers."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from fer_edge.system.closing import Closing
from fer_edge.types import EmotionEvent, Frame


class Sink(Protocol):
    """Takes events, one at a time; a context manager whose ``close`` may be called twice.

    >>> from fer_edge import ClosingSink, EmotionEvent
    >>> class Count(ClosingSink):
    ...     events = 0
    ...
    ...     def emit(self, event: EmotionEvent) -> None:
    ...         self.events += 1
    >>> sink: Sink = Count()
    """

    def emit(self, event: EmotionEvent) -> None:
        """Pass ``event`` on. Raises OutputError when that is not possible."""
        ...

    def close(self) -> None:
        """Let go of the file or connection."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosingSink(Closing):
    """A context manager that calls ``close`` at its end.

    >>> from fer_edge import EmotionEvent, EventKind, event_line
    >>> class Printer(ClosingSink):
    ...     def emit(self, event: EmotionEvent) -> None:
    ...         print(event_line(event).strip())
    >>> with Printer() as sink:
    ...     sink.emit(EmotionEvent(EventKind.LEFT, "door", at=1.7e9, mono=9.5, track_id=1, previous="happy"))
    9.50 s  door  face 1  left      was happy
    """

    def close(self) -> None:
        """Let go of what the sink holds; harmless when called again."""


class ProcessedFrame(Protocol):
    """What a sink needs of the result of a frame: its source and its time."""

    @property
    def frame(self) -> Frame:
        """The frame."""
        ...


class ManagedSink(Sink, Protocol):
    """A sink as ``open_sinks`` holds it: it works on in the background, and is told of each frame."""

    def record(self, result: ProcessedFrame) -> None:
        """A frame was processed, with events or without. Raises what ended the sink, such as OutputError."""
        ...

    def start_closing(self) -> None:
        """Nothing more comes: finish meanwhile; ``close`` waits for it."""
        ...
