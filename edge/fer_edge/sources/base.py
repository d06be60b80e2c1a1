"""What every source of frames offers, and what they share."""

from __future__ import annotations

from enum import Enum
from types import TracebackType
from typing import Protocol, Self

from fer_edge.closing import Closing
from fer_edge.errors import FerEdgeError, SourceLostError
from fer_edge.types import Frame

DEFAULT_FPS = 25.0
"""Frames per second taken for a source that does not tell its own (``[source] fps`` overrides it)."""

_OLDEST_S = 2.0
"""A camera's own time further back than this is of another clock, or nonsense."""


class NoFrame(Enum):
    """Why ``read`` gave no frame."""

    NOT_YET = "not yet"
    ENDED = "ended"


class FrameSource(Protocol):
    """A source of grey frames; a context manager whose ``close`` may be called twice.

    ``live`` tells that ``captured_at`` is the monotonic clock and that the world does not wait; otherwise it is
    media time in seconds from 0. ``still`` tells that it is one picture, which no other frame follows. ``fps`` is
    the nominal rate. ``dropped`` counts frames that were overtaken or damaged.
    """

    name: str
    live: bool
    still: bool
    fps: float
    dropped: int

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame. NOT_YET when a live source has none within ``timeout_s``; ENDED after the last one.

        Raises InputError for a damaged file, SourceLostError for a camera that is gone.
        """
        ...

    def close(self) -> None:
        """Let go of the device, the file or the thread."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class ClosingSource(Closing):
    """A context manager that calls ``close`` at its end; no still, unless it says so."""

    still = False

    def close(self) -> None:
        """Let go of what the source holds; harmless when called again."""


def glass_time(told_s: float, now: float) -> float:
    """When a frame was taken, monotonic seconds: what the driver told, where that can be true, else ``now``."""
    return told_s if now - _OLDEST_S <= told_s <= now else now


def as_lost(error: Exception, name: str) -> FerEdgeError:
    """What a thread that reads or opens the source ``name`` failed with, as one of the program's own errors.

    Drivers raise whatever they like; that ends their own source, and no other.
    """
    if isinstance(error, FerEdgeError):
        return error
    lost = SourceLostError(f"{name}: its driver failed: {type(error).__name__}: {error}")
    lost.__cause__ = error  # for --debug
    return lost
