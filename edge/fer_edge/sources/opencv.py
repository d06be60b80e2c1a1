"""Video files through OpenCV, and cameras where V4L2's own interface does not serve."""

from __future__ import annotations

import logging
import math
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import FerEdgeError, InputError, SourceLostError
from fer_edge.images.files import check_readable
from fer_edge.images.gray import to_gray
from fer_edge.protocols import ClosingSource, NoFrame
from fer_edge.settings.runtime import SourceSettings
from fer_edge.sources.base import DEFAULT_FPS, glass_time
from fer_edge.types import Frame, UInt8Array, describe_type

_log = logging.getLogger(__name__)
_PLAUSIBLE_FPS = (0.1, 1000.0)
_V4L2_MANUAL = 1
"""V4L2_EXPOSURE_MANUAL, a value of V4L2_CID_EXPOSURE_AUTO,
https://docs.kernel.org/userspace-api/media/v4l/ext-ctrls-camera.html"""
_CUT_SHORT = 0.9
"""A video whose pictures end before this share of the length its container tells is damaged. Containers round,
and sound may outlast the picture a little, hence not 1."""


def open_video(uri: str, settings: SourceSettings, name: str) -> VideoFileSource | None:
    """The video file at ``uri``; None when there is no such file. Raises InputError when it is not a video."""
    path = Path(uri)
    if not path.exists():
        return None
    check_readable(path)
    # By itself FFmpeg takes a thread for each core, and for each of them the memory of several pictures.
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, cv2.getNumThreads()])
    if not capture.isOpened():
        raise InputError(f"{path}: not a video that can be read: empty, cut short or of an unknown format")
    return VideoFileSource(capture, str(path), settings, name)


class VideoFileSource(ClosingSource):
    """An open video with an end, frame by frame, none dropped; time is the container's. ``called`` names it in errors.

    A container without time stamps gets its frame rate, else ``settings.fps``, else ``DEFAULT_FPS``.
    ``read`` raises ``cut_short`` when it holds no picture, or ends before the length that it tells.
    """

    live = False
    dropped = 0

    def __init__(
        self,
        capture: cv2.VideoCapture,
        called: str,
        settings: SourceSettings,
        name: str,
        cut_short: type[FerEdgeError] = InputError,
    ) -> None:
        self.name = name
        self._cut_short = cut_short
        self.fps = told_fps(capture, settings)
        self._capture, self._called = capture, called
        self._pictures = GrayReader(capture)
        self._length_s = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) / self.fps
        self._index = 0
        self._at = 0.0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame, or ENDED; ``timeout_s`` plays no part, a file never keeps one waiting."""
        gray = self._pictures.read()
        if gray is None:
            self._check_complete()
            return NoFrame.ENDED
        told_at = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._index:
            # Raw streams tell 0 for every frame, and damaged ones run backwards.
            self._at = told_at if told_at > self._at and math.isfinite(told_at) else self._at + 1 / self.fps
        frame = Frame(self.name, self._index, self._at, gray)
        self._index += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _check_complete(self) -> None:
        if not self._capture.isOpened():
            return
        if self._index == 0:
            raise self._cut_short(f"{self._called}: holds no picture that can be read")
        seen_s = self._at + 1 / self.fps
        if math.isfinite(self._length_s) and seen_s < _CUT_SHORT * self._length_s:
            raise self._cut_short(
                f"{self._called}: ends after {self._index} frames ({seen_s:.1f} s of {self._length_s:.1f} s):"
                " the film is damaged or cut short"
            )


class OpenCVCamera(ClosingSource):
    """A camera by its index, through OpenCV; ``read`` blocks for the next frame, stamped with the monotonic clock.

    For systems without V4L2, and for V4L2 devices whose pictures lie in several planes. Not to be read by the
    pipeline's own thread: ``NewestFrameSource`` stands between. Raises SourceLostError.
    """

    live = True
    dropped = 0

    def __init__(self, index: int, settings: SourceSettings, name: str) -> None:
        self.name = name
        linux = sys.platform.startswith("linux")
        self._device = f"/dev/video{index}" if linux else f"camera {index}"
        self._capture = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if not self._capture.isOpened():
            raise SourceLostError(f"{self._device}: cannot be opened as a camera; is it plugged in, or in use?")
        self._set_controls(settings)
        self.fps = told_fps(self._capture, settings)
        width, height = self._capture.get(cv2.CAP_PROP_FRAME_WIDTH), self._capture.get(cv2.CAP_PROP_FRAME_HEIGHT)
        self._size = round(width), round(height)
        self._coloured: cv2.typing.MatLike | None = None
        self._index = 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame; the driver decides how long that takes."""
        good, image = self._capture.read(self._coloured)
        if not good:
            raise SourceLostError(f"{self._device}: the camera stopped giving frames; check its cable and power")
        # For V4L2 this is the driver's own stamp of the buffer, on the monotonic clock.
        at = glass_time(self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000, time.monotonic())
        picture = shaped_picture(image, *self._size)
        if picture is None:
            raise SourceLostError(
                f"{self._device}: OpenCV {cv2.__version__} gives {describe_type(image)} for pictures of"
                f" {self._size[0]}x{self._size[1]}; choose another format with source.fourcc"
            )
        self._coloured = None if picture.ndim == 2 else image  # one that came in grey is given away
        frame = Frame(self.name, self._index, at, to_gray(picture))
        self._index += 1
        return frame

    def close(self) -> None:
        """Let go of the device."""
        self._capture.release()

    def _set_controls(self, settings: SourceSettings) -> None:
        manual = None if settings.exposure_us is None else _V4L2_MANUAL
        fourcc = None if settings.fourcc == "auto" else cv2.VideoWriter.fourcc(*settings.fourcc.ljust(4))
        for name, wanted, key in (
            ("fourcc", fourcc, cv2.CAP_PROP_FOURCC),
            ("width", settings.width, cv2.CAP_PROP_FRAME_WIDTH),
            ("height", settings.height, cv2.CAP_PROP_FRAME_HEIGHT),
            ("fps", settings.fps, cv2.CAP_PROP_FPS),
            ("exposure_us", manual, cv2.CAP_PROP_AUTO_EXPOSURE),
            # V4L2_CID_EXPOSURE_ABSOLUTE counts in steps of 100 microseconds.
            ("exposure_us", settings.exposure_us and max(1, settings.exposure_us / 100), cv2.CAP_PROP_EXPOSURE),
            ("gain", settings.gain, cv2.CAP_PROP_GAIN),
            ("autofocus", settings.autofocus, cv2.CAP_PROP_AUTOFOCUS),
        ):
            if wanted is not None and not self._capture.set(key, float(wanted)):
                _log.warning("%s: the camera does not take [source] %s", self._device, name)
        warn_of_other_controls(self._device, settings)


def warn_of_other_controls(device: str, settings: SourceSettings) -> None:
    """Log the settings that only picamera2 cameras have."""
    for name, unknown in (("ev", settings.ev), ("lens_position", settings.lens_position)):
        if unknown is not None:
            _log.warning("%s: [source] %s is for picamera2 cameras", device, name)


def shaped_picture(image: npt.NDArray[Any], width: int, height: int) -> UInt8Array | None:
    """``image`` as uint8 [height, width] or BGR [height, width, 3], None where it is not of that size.

    OpenCV before 4.12 gives the bytes of some formats, BGR3 among them, as one long row: uint8 [1, bytes].
    """
    if image.dtype == np.uint8:
        if image.shape[:2] == (height, width):
            return np.asarray(image, np.uint8) if image.ndim == 2 or image.shape[2] == 3 else None
        if image.ndim == 2 and image.shape[0] == 1 and image.size == height * width * 3:
            return np.asarray(image, np.uint8).reshape(height, width, 3)
    return None


class GrayReader:
    """Reads an open capture's pictures in grey: a new one each time, made from colours in one buffer."""

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self._capture = capture
        self._coloured: cv2.typing.MatLike | None = None

    def read(self) -> UInt8Array | None:
        """The next picture, uint8 [H, W]; None when there is none."""
        good, image = self._capture.read(self._coloured)
        if not good:
            return None
        self._coloured = None if image.ndim == 2 else image  # one that came in grey is given away
        return to_gray(image)


def told_fps(capture: cv2.VideoCapture, settings: SourceSettings) -> float:
    """Frames per second that the open capture tells, where that can be true, else those of the settings."""
    told = capture.get(cv2.CAP_PROP_FPS)
    low, high = _PLAUSIBLE_FPS
    return float(told) if math.isfinite(told) and low <= told <= high else (settings.fps or DEFAULT_FPS)
