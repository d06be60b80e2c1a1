"""Video files, decoded by OpenCV through FFmpeg."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import cv2

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.images.files import check_readable
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import CaptureSource
from fer_edge.sources.opening import Unopened
from fer_edge.system.opencv_setup import limit_decoder, opencv_path
from fer_edge.types import Frame

_MIN_COMPLETE = 0.9
"""A video is damaged if its pictures end before this share of the length in its header. It is below 1 because lengths
are rounded, and the sound may be a little longer than the pictures."""


def open_video(uri: str, settings: SourceSettings, name: str) -> Unopened | None:
    """Return the video file at ``uri``, or None if the file does not exist.

    Raises:
        InputError: if the file cannot be read, or has a path that is not UTF-8.
    """
    path = Path(uri)
    if not path.exists():
        return None
    check_readable(path)
    opencv_path(path)
    return Unopened(partial(_open, path, settings, name), reopens=False)


def _open(path: Path, settings: SourceSettings, name: str) -> VideoFileSource:
    """Return the open video. FFmpeg may not return for minutes, or ever. Raises InputError."""
    limit_decoder(settings.max_pixels)
    # By default FFmpeg starts one thread per core, and each holds several decoded pictures.
    capture = cv2.VideoCapture(opencv_path(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, cv2.getNumThreads()])
    if not capture.isOpened():
        raise InputError(f"{path}: not a readable video: it is empty, incomplete or in an unknown format")
    return VideoFileSource(capture, str(path), settings, name)


class VideoFileSource(CaptureSource):
    """A video of finite length; every frame is read, none is dropped, and time is the media time of the container.

    A container without time stamps uses its frame rate, else ``settings.fps``, else ``DEFAULT_FPS``. ``display_name``
    identifies the video in errors. ``read`` raises ``error_type`` if the video has no readable picture, or ends before
    the length in its header.
    """

    live = False
    error_type: type[FerEdgeError] = InputError

    def __init__(self, capture: cv2.VideoCapture, display_name: str, settings: SourceSettings, name: str) -> None:
        super().__init__(capture, display_name, settings, name)
        self._length_s = capture.get(cv2.CAP_PROP_FRAME_COUNT) / self.fps
        self._at = 0.0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame, or ENDED. ``timeout_s`` is not used: a file can always be read."""
        gray = self._read_gray()
        if gray is None:
            self._check_complete()
            return NoFrame.ENDED
        reported_at = self._capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        if self._index:
            # Raw streams report 0 for every frame, and damaged files may run backwards.
            self._at = reported_at if reported_at > self._at and math.isfinite(reported_at) else self._at + 1 / self.fps
        return self._frame(self._at, gray)

    def _check_complete(self) -> None:
        if not self._capture.isOpened():
            return
        if self._index == 0:
            raise self.error_type(f"{self._display_name}: it has no readable picture")
        seen_s = self._at + 1 / self.fps
        if math.isfinite(self._length_s) and seen_s < _MIN_COMPLETE * self._length_s:
            raise self.error_type(
                f"{self._display_name}: ends after {self._index} frames ({seen_s:.1f} s of {self._length_s:.1f} s):"
                " the video is damaged or incomplete"
            )
