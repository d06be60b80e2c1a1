"""Video files, and cameras behind V4L2 (USB), through OpenCV."""

from __future__ import annotations

import math
import re
import sys
import time
from pathlib import Path

import cv2
import numpy as np

from fer_edge.config import SourceSettings
from fer_edge.errors import InputError, SourceLostError
from fer_edge.image_files import check_readable
from fer_edge.sources.base import DEFAULT_FPS, ClosingSource, NoFrame, oriented
from fer_edge.types import Frame, UInt8Array

CAMERA_SILENCE_S = 10.0
"""A camera that gives nothing for this long is taken for lost; a cold USB camera needs 1–3 s for its first frame."""

_DEVICE = re.compile(r"(?:/dev/video)?(\d{1,3})")
_PLAUSIBLE_FPS = (0.1, 1000.0)
_CUT_SHORT = 0.9
"""A video whose pictures end before this share of the length its container tells is damaged. Containers round,
and sound may outlast the picture a little, hence not 1."""


def open_camera(uri: str, settings: SourceSettings, name: str) -> CameraSource | None:
    """The camera of ``0`` or ``/dev/video0``; None for any other URI. Raises SourceLostError when it is not there."""
    index = camera_index(uri)
    return None if index is None else CameraSource(index, settings, name)


def camera_index(uri: str) -> int | None:
    """3 for ``3`` and for ``/dev/video3``, None for what is no camera."""
    match = _DEVICE.fullmatch(uri)
    return int(match.group(1)) if match else None


def open_video(uri: str, settings: SourceSettings, name: str) -> VideoFileSource | None:
    """The video file at ``uri``; None when there is no such file. Raises InputError when it is not a video."""
    path = Path(uri)
    return VideoFileSource(path, settings, name) if path.exists() else None


class VideoFileSource(ClosingSource):
    """A video file, frame by frame, none dropped; time is the container's.

    A container without time stamps gets its frame rate, else ``settings.fps``, else ``DEFAULT_FPS``.
    Raises InputError when the file is empty, is no video, or ends before the length that it tells.
    """

    live = False
    dropped = 0

    def __init__(self, path: Path, settings: SourceSettings, name: str) -> None:
        check_readable(path)
        self.name = name
        self._path = path
        self._settings = settings
        self._capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG)
        if not self._capture.isOpened():
            raise InputError(f"{path}: not a video that can be read: empty, cut short or of an unknown format")
        told = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(told) if _plausible(told) else (settings.fps or DEFAULT_FPS)
        self._length_s = self._capture.get(cv2.CAP_PROP_FRAME_COUNT) / self.fps
        self._index = 0
        self._at = 0.0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame, or ENDED; ``timeout_s`` plays no part, a file never keeps one waiting."""
        good, image = self._capture.read()
        if not good:
            self._check_complete()
            return NoFrame.ENDED
        told_at = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._index:
            # Raw streams tell 0 for every frame, and damaged ones run backwards.
            self._at = told_at if told_at > self._at and math.isfinite(told_at) else self._at + 1 / self.fps
        frame = Frame(self.name, self._index, self._at, oriented(_gray(image), self._settings))
        self._index += 1
        return frame

    def close(self) -> None:
        """Close the file."""
        self._capture.release()

    def _check_complete(self) -> None:
        if not self._capture.isOpened():
            return
        if self._index == 0:
            raise InputError(f"{self._path}: holds no picture that can be read")
        seen_s = self._at + 1 / self.fps
        if math.isfinite(self._length_s) and seen_s < _CUT_SHORT * self._length_s:
            raise InputError(
                f"{self._path}: ends after {self._index} frames ({seen_s:.1f} s of {self._length_s:.1f} s):"
                " the file is damaged or cut short"
            )


class CameraSource(ClosingSource):
    """A V4L2 or USB camera by its index; ``read`` blocks for the next frame and stamps it with the monotonic clock.

    Not to be read by the pipeline's own thread: ``NewestFrameSource`` stands between. Raises SourceLostError.
    """

    live = True
    dropped = 0

    def __init__(self, index: int, settings: SourceSettings, name: str) -> None:
        self.name = name
        self._settings = settings
        linux = sys.platform.startswith("linux")
        device = f"/dev/video{index}" if linux else f"camera {index}"
        if linux and not Path(device).exists():
            raise SourceLostError(f"{device}: there is no such camera; is it plugged in? ls /dev/video* shows them")
        self._capture = cv2.VideoCapture(index, cv2.CAP_V4L2 if linux else cv2.CAP_ANY)
        if not self._capture.isOpened():
            raise SourceLostError(
                f"{device}: cannot be opened as a camera; is it in use, or are you not in the group video?"
            )
        self._device = device
        for wanted, key in (
            (settings.width, cv2.CAP_PROP_FRAME_WIDTH),
            (settings.height, cv2.CAP_PROP_FRAME_HEIGHT),
            (settings.fps, cv2.CAP_PROP_FPS),
        ):
            if wanted is not None:
                self._capture.set(key, float(wanted))
        told = self._capture.get(cv2.CAP_PROP_FPS)
        self.fps = float(told) if _plausible(told) else (settings.fps or DEFAULT_FPS)
        self._index = 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The next frame; the driver decides how long that takes."""
        good, image = self._capture.read()
        if not good:
            raise SourceLostError(f"{self._device}: the camera stopped giving frames; check its cable and power")
        frame = Frame(self.name, self._index, time.monotonic(), oriented(_gray(image), self._settings))
        self._index += 1
        return frame

    def close(self) -> None:
        """Let go of the device."""
        self._capture.release()


def _plausible(fps: float) -> bool:
    low, high = _PLAUSIBLE_FPS
    return math.isfinite(fps) and low <= fps <= high


def _gray(image: cv2.typing.MatLike) -> UInt8Array:
    gray = image if image.ndim == 2 else cv2.cvtColor(image, cv2.COLOR_BGR2GRAY)
    return np.asarray(gray, dtype=np.uint8)
