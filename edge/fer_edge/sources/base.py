"""What every source of frames offers, and what they share."""

from __future__ import annotations

from enum import Enum
from types import TracebackType
from typing import Protocol, Self

import cv2
import numpy as np

from fer_edge.config import SourceSettings
from fer_edge.types import Frame, UInt8Array

DEFAULT_FPS = 25.0
"""Frames per second taken for a source that does not tell its own (``[source] fps`` overrides it)."""

_ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}


class NoFrame(Enum):
    """Why ``read`` gave no frame."""

    NOT_YET = "not yet"
    ENDED = "ended"


class FrameSource(Protocol):
    """A source of grey frames; a context manager whose ``close`` may be called twice.

    ``live`` tells that ``captured_at`` is the monotonic clock and that the world does not wait; otherwise it is
    media time in seconds from 0. ``still`` tells that it is one picture, which no other frame follows. ``fps`` is
    the nominal rate. ``dropped`` counts frames that were overtaken.
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


class ClosingSource:
    """A context manager that calls ``close`` at its end; no still, unless it says so."""

    still = False

    def close(self) -> None:
        """Let go of what the source holds; harmless when called again."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def oriented(gray: UInt8Array, settings: SourceSettings) -> UInt8Array:
    """``gray`` uint8 [H, W], turned clockwise by ``settings.rotate`` degrees and then mirrored if so set."""
    turned: UInt8Array = gray
    if settings.rotate:
        turned = np.asarray(cv2.rotate(turned, _ROTATIONS[settings.rotate]), dtype=np.uint8)
    if settings.mirror:
        turned = np.asarray(cv2.flip(turned, 1), dtype=np.uint8)
    return turned
