"""What several sources share: base classes, decoders, capture times, and the errors of drivers."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol, TypeVar

from fer_edge.errors import FerEdgeError, SourceLostError
from fer_edge.protocols import ClosingSource, FrameSource
from fer_edge.settings.source import SourceSettings
from fer_edge.system.closing import Closing
from fer_edge.types import Frame, UInt8Array

T = TypeVar("T")

DEFAULT_FPS = 25.0
"""Frames per second of a source that does not report its rate (``[source] fps`` overrides it)."""

_MIN_FPS, _MAX_FPS = 0.1, 1000.0
"""Limits of a plausible rate; NaN is outside them."""
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


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture.

    Attributes:
        gray: uint8 [H, W].
        bgr: The same in colour, uint8 [H, W, 3], if it was asked for and the picture has colour.
        at_s: Timestamp in the container, seconds from its start. NaN or 0 if it has none.
    """

    gray: UInt8Array
    bgr: UInt8Array | None
    at_s: float


class Decoder(Protocol):
    """An open film, stream or camera.

    Attributes:
        size: Width and height in pixels that the container states; 0 if it does not.
        fps: Frames per second that the container states; implausible if it does not.
        frame_count: Number of frames that the container states; not above 0 if it does not.
        codec: Name of the codec, such as ``mjpeg``.
    """

    size: tuple[int, int]
    fps: float
    frame_count: float
    codec: str

    def read(self, *, keep_colour: bool) -> Picture | None:
        """Return the next picture, None if there is none: after the last, or because of a fault."""
        ...

    def close(self) -> None:
        """Close it. No call of ``read`` may be under way."""
        ...


class NumberedSource(ClosingSource):
    """Base class of the sources that make frames, which are numbered from 0."""

    name: str
    dropped = 0
    _index = 0

    def _frame(self, at: float, gray: UInt8Array, bgr: UInt8Array | None = None) -> Frame:
        """Return the next frame, captured at ``at``."""
        frame = Frame(self.name, self._index, at, gray, bgr=bgr)
        self._index += 1
        return frame


class DecodedSource(NumberedSource):
    """Base class of the sources that read from a decoder; ``display_name`` identifies the source in errors.

    A picture with more than ``settings.max_pixels`` pixels raises ``error_type``: at once if the container contains its
    size, else when it was decoded. ``fps`` is the rate that the decoder reports if it is plausible, else
    ``settings.fps`` or ``DEFAULT_FPS``.
    """

    error_type: type[FerEdgeError] = SourceLostError

    def __init__(self, decoder: Decoder, display_name: str, settings: SourceSettings, name: str) -> None:
        self.name = name
        self._decoder, self._display_name = decoder, display_name
        self._max_pixels = settings.max_pixels
        try:
            self._check_size(*decoder.size)
        except FerEdgeError:
            decoder.close()
            raise
        self.fps = decoder.fps if _MIN_FPS <= decoder.fps <= _MAX_FPS else (settings.fps or DEFAULT_FPS)
        self._lock = threading.Lock()
        self._reading = self._closed = False

    def close(self) -> None:
        """Close the device, file or connection. Idempotent.

        If another thread is inside the decoder, which must not be closed then, that thread closes it afterwards.
        """
        with self._lock:
            self._closed = True
            if not self._reading:
                self._decoder.close()

    @property
    def busy(self) -> bool:
        """Whether the decoder has not returned from a call."""
        return self._reading

    def _read_picture(self) -> Picture | None:
        """Return the next picture, or None if there is none."""
        picture = self._in_decoder(partial(self._decoder.read, keep_colour=self.keep_colour))
        if picture is not None:
            self._check_size(picture.gray.shape[1], picture.gray.shape[0])
        return picture

    def _in_decoder(self, call: Callable[[], T]) -> T | None:
        """Return the result of ``call``, which uses the decoder; None if the source is closed, before or meanwhile."""
        with self._lock:
            if self._closed:
                return None
            self._reading = True
        try:
            result = call()
        finally:
            with self._lock:
                self._reading = False
                if self._closed:
                    self._decoder.close()
        return None if self._closed else result

    def _check_size(self, width: int, height: int) -> None:
        if width * height > self._max_pixels:
            raise self.error_type(
                f"{self._display_name}: its pictures have {width}x{height} pixels, more than source.max_pixels"
                f" = {self._max_pixels}; make them smaller or raise the limit"
            )


def keep_colour(source: FrameSource, wanted: bool) -> None:
    """Set ``source.keep_colour`` if it has this attribute, which a source of the user may lack."""
    if hasattr(source, "keep_colour") and source.keep_colour != wanted:
        source.keep_colour = wanted


class SourceWrapper(Closing):
    """Base class of the sources that pass on the frames of ``inner``, which is closed together with them."""

    def __init__(self, inner: FrameSource) -> None:
        self.name, self.fps = inner.name, inner.fps
        self.live, self.still = inner.live, inner.still
        self.dropped = inner.dropped
        self._inner = inner

    @property
    def keep_colour(self) -> bool:
        """Whether frames have ``bgr``."""
        return getattr(self._inner, "keep_colour", False)

    @keep_colour.setter
    def keep_colour(self, wanted: bool) -> None:
        keep_colour(self._inner, wanted)

    def close(self) -> None:
        """Close the inner source."""
        self._inner.close()

    @property
    def frame_count(self) -> float | None:
        """Number of frames of the inner source, if it is known."""
        return getattr(self._inner, "frame_count", None)

    @property
    def busy(self) -> bool:
        """Whether a driver has not returned from a call."""
        return getattr(self._inner, "busy", False)
