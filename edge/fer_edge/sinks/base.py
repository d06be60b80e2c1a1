"""What the daemon needs of a sink, beyond ``EventSink``."""

from __future__ import annotations

from types import TracebackType
from typing import Protocol, Self

from fer_edge.protocols import EventSink
from fer_edge.types import FrameResult


class ManagedSink(EventSink, Protocol):
    """A sink that works in the background; a context manager that calls ``close`` at its end."""

    def record(self, result: FrameResult) -> None:
        """Note that a frame was processed, with events or without. Raises the error that ended the sink, if any."""
        ...

    def start_closing(self) -> None:
        """Accept no more events and finish in the background; ``close`` waits for it."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
