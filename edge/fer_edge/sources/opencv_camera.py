"""Cameras through OpenCV, for systems without V4L2 and for multi-planar V4L2 devices."""

from __future__ import annotations

import logging
import sys
import time
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import SourceLostError
from fer_edge.images.colour import kept_colour, to_gray
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import DecodedSource, capture_time
from fer_edge.sources.decoders.opencv import OpenCVDecoder
from fer_edge.sources.v4l2.structs import EXPOSURE_MANUAL
from fer_edge.types import Frame, UInt8Array, describe_type

_log = logging.getLogger(__name__)


class OpenCVCamera(DecodedSource):
    """A camera opened by its index through OpenCV.

    ``read`` blocks until the next frame, which has a monotonic timestamp; ``NewestFrameSource`` therefore reads it in
    its own thread.

    Raises:
        SourceLostError: if the camera cannot be opened.
    """

    live = True

    def __init__(self, index: int, settings: SourceSettings, name: str) -> None:
        linux = sys.platform.startswith("linux")
        device = f"/dev/video{index}" if linux else f"camera {index}"
        capture = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if not capture.isOpened():
            raise SourceLostError(f"{device}: cannot be opened as a camera; is it plugged in, or in use?")
        _set_controls(capture, device, settings)  # which changes the rate that the capture reports
        super().__init__(OpenCVDecoder(capture), device, settings, name)
        self._capture = capture
        self._size = self._decoder.size
        self._colour_buffer: cv2.typing.MatLike | None = None

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame. The driver determines how long this takes.

        Raises:
            SourceLostError: if the camera stops, or gives pictures of another size or type.
        """
        answer = self._in_decoder(self._next)
        if answer is None:
            raise SourceLostError(f"{self._display_name}: the camera stopped sending frames; check its cable and power")
        image, reported_s = answer
        at = capture_time(reported_s, time.monotonic())
        picture = reshape_picture(image, *self._size)
        if picture is None:
            raise SourceLostError(
                f"{self._display_name}: OpenCV {cv2.__version__} gives {describe_type(image)} for pictures of"
                f" {self._size[0]}x{self._size[1]}; choose another format with source.fourcc"
            )
        # A picture that is returned itself keeps its memory.
        kept = picture.ndim == 2 or self.keep_colour
        self._colour_buffer = None if kept else image
        return self._frame(at, to_gray(picture), kept_colour(picture) if kept else None)

    def _next(self) -> tuple[cv2.typing.MatLike, float] | None:
        """Return the next picture and its time in seconds; None if the camera sends none."""
        good, image = self._capture.read(self._colour_buffer)
        # For V4L2 this is the driver's timestamp of the buffer, on the monotonic clock.
        return (image, self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000) if good else None


def _set_controls(capture: cv2.VideoCapture, device: str, settings: SourceSettings) -> None:
    manual = None if settings.exposure_us is None else EXPOSURE_MANUAL
    fourcc = None if settings.fourcc == "auto" else cv2.VideoWriter.fourcc(*settings.fourcc.ljust(4))
    for name, wanted, key in (
        ("fourcc", fourcc, cv2.CAP_PROP_FOURCC),
        ("width", settings.width, cv2.CAP_PROP_FRAME_WIDTH),
        ("height", settings.height, cv2.CAP_PROP_FRAME_HEIGHT),
        ("fps", settings.fps, cv2.CAP_PROP_FPS),
        ("exposure_us", manual, cv2.CAP_PROP_AUTO_EXPOSURE),
        # V4L2_CID_EXPOSURE_ABSOLUTE is in units of 100 microseconds.
        ("exposure_us", settings.exposure_us and max(1, settings.exposure_us / 100), cv2.CAP_PROP_EXPOSURE),
        ("gain", settings.gain, cv2.CAP_PROP_GAIN),
        ("autofocus", settings.autofocus, cv2.CAP_PROP_AUTOFOCUS),
    ):
        if wanted is not None and not capture.set(key, float(wanted)):
            _log.warning("%s: the camera does not support [source] %s", device, name)
    warn_about_picamera2_settings(device, settings)


def warn_about_picamera2_settings(device: str, settings: SourceSettings) -> None:
    """Log a warning for each setting that only picamera2 cameras have."""
    for name, value in (("ev", settings.ev), ("lens_position", settings.lens_position)):
        if value is not None:
            _log.warning("%s: [source] %s applies to picamera2 cameras only", device, name)


def reshape_picture(image: npt.NDArray[Any], width: int, height: int) -> UInt8Array | None:
    """Return ``image`` as grey uint8 [height, width] or BGR [height, width, 3], or None if it does not have that size.

    OpenCV before 4.12 returns some formats, such as BGR3, as one row of bytes: uint8 [1, height * width * 3].
    """
    if image.dtype == np.uint8:
        if image.shape[:2] == (height, width):
            return np.asarray(image, np.uint8) if image.ndim == 2 or image.shape[2] == 3 else None
        if image.ndim == 2 and image.shape[0] == 1 and image.size == height * width * 3:
            return np.asarray(image, np.uint8).reshape(height, width, 3)
    return None
