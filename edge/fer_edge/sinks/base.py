"""What every sink offers."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from fer_edge.system.closing import Closing
from fer_edge.types import EmotionEvent, Frame


class Sink(Protocol):
    """Takes events, one at a time; a context manager whose ``close`` may be called twice."""

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
    """A context manager that calls ``close`` at its end."""

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
