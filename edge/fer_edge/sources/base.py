"""What the sources share."""

from __future__ import annotations

from fer_edge.errors import FerEdgeError, SourceLostError

DEFAULT_FPS = 25.0
"""Frames per second taken for a source that does not tell its own (``[source] fps`` overrides it)."""

_OLDEST_S = 2.0
"""A camera's own time further back than this is of another clock, or nonsense."""


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
