"""Helpers that several sources share."""

from __future__ import annotations

import math

import cv2

from fer_edge.errors import FerEdgeError, SourceLostError
from fer_edge.images.gray import to_gray
from fer_edge.settings.source import SourceSettings
from fer_edge.types import UInt8Array

DEFAULT_FPS = 25.0
"""Frames per second of a source that does not report its rate (``[source] fps`` overrides it)."""

_PLAUSIBLE_FPS = (0.1, 1000.0)
_MAX_AGE_S = 2.0
"""An older timestamp is not on the monotonic clock, or is wrong."""


def capture_time(reported_s: float, now: float) -> float:
    """Return ``reported_s`` if it is a plausible capture time, else ``now``.

    Args:
        reported_s: The driver's timestamp of a frame, seconds.
        now: The current time of the monotonic clock, seconds.
    """
    return reported_s if now - _MAX_AGE_S <= reported_s <= now else now


def as_source_error(error: Exception, name: str) -> FerEdgeError:
    """Return ``error`` as a FerEdgeError: unchanged if it is one, else as the cause of a SourceLostError.

    A driver may raise any exception; it must end only its own source, which is called ``name``.
    """
    if isinstance(error, FerEdgeError):
        return error
    lost = SourceLostError(f"{name}: its driver failed: {type(error).__name__}: {error}")
    lost.__cause__ = error  # for --debug
    return lost


class GrayReader:
    """Reads the pictures of an open ``cv2.VideoCapture`` in grey.

    Each grey picture is a new array; colour pictures are decoded into one reused buffer.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self._colour_buffer: cv2.typing.MatLike | None = None

    def read(self) -> UInt8Array | None:
        """Return the next picture, uint8 [H, W], or None if there is none."""
        good, image = self._capture.read(self._colour_buffer)
        if not good:
            return None
        # A picture that is grey already is returned itself, so its memory must not be reused.
        self._colour_buffer = None if image.ndim == 2 else image
        return to_gray(image)


def reported_fps(capture: cv2.VideoCapture, settings: SourceSettings) -> float:
    """Return the frame rate that ``capture`` reports if it is plausible, else ``settings.fps`` or ``DEFAULT_FPS``."""
    fps = capture.get(cv2.CAP_PROP_FPS)
    low, high = _PLAUSIBLE_FPS
    return float(fps) if math.isfinite(fps) and low <= fps <= high else (settings.fps or DEFAULT_FPS)
