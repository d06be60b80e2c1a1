"""Video files, decoded by PyAV if it is installed, else by OpenCV; both use FFmpeg."""

from __future__ import annotations

import math
from functools import partial
from pathlib import Path

import cv2

from fer_edge.errors import FerEdgeError, InputError
from fer_edge.images.files import check_readable
from fer_edge.protocols import NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import DecodedSource, Decoder
from fer_edge.sources.decoders.opencv import OpenCVDecoder
from fer_edge.sources.decoders.pyav import PyAVDecoder, choose_pyav
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
        MissingExtraError: if PyAV is to decode it and is not installed.
    """
    path = Path(uri)
    if not path.exists():
        return None
    check_readable(path)
    opencv_path(path)
    by_pyav = choose_pyav(settings.decoder)
    return Unopened(partial(_open, path, settings, name, by_pyav=by_pyav), reopens=False)


def _open(path: Path, settings: SourceSettings, name: str, *, by_pyav: bool) -> VideoFileSource:
    """Return the open video. FFmpeg may not return for minutes, or ever. Raises InputError."""
    decoder: Decoder
    unreadable = f"{path}: not a readable video: it is empty, incomplete or in an unknown format"
    if by_pyav:
        try:
            decoder = PyAVDecoder(str(path), max_pixels=settings.max_pixels, timeout_s=settings.timeout_s)
        except TimeoutError:
            raise InputError(
                f"{path}: cannot be opened within {settings.timeout_s:g} s; is it a playlist without end?"
            ) from None
        except OSError:
            raise InputError(unreadable) from None
    else:
        limit_decoder(settings.max_pixels)
        # By default FFmpeg starts one thread per core, and each holds several decoded pictures.
        capture = cv2.VideoCapture(opencv_path(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, cv2.getNumThreads()])
        if not capture.isOpened():
            raise InputError(unreadable)
        decoder = OpenCVDecoder(capture)
    return VideoFileSource(decoder, str(path), settings, name)


class VideoFileSource(DecodedSource):
    """A video of finite length; every frame is read, none is dropped, and time is the media time of the container.

    A container without time stamps uses its frame rate, else ``settings.fps``, else ``DEFAULT_FPS``. ``display_name``
    identifies the video in errors. ``read`` raises ``error_type`` if the video has no readable picture, or ends before
    the length in its header.
    ``frame_count`` is as in ``Decoder``.
    """

    live = False
    error_type: type[FerEdgeError] = InputError

    def __init__(self, decoder: Decoder, display_name: str, settings: SourceSettings, name: str) -> None:
        super().__init__(decoder, display_name, settings, name)
        self.frame_count = decoder.frame_count
        self._length_s = self.frame_count / self.fps
        self._at = 0.0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame, or ENDED. ``timeout_s`` is not used: a file can always be read."""
        picture = self._read_picture()
        if picture is None:
            self._check_complete()
            return NoFrame.ENDED
        if self._index:
            # Raw streams report 0 or NaN for every frame, and damaged files may run backwards.
            self._at = picture.at_s if self._at < picture.at_s < math.inf else self._at + 1 / self.fps
        return self._frame(self._at, picture.gray, picture.bgr)

    def _check_complete(self) -> None:
        if self._closed:
            return
        if self._index == 0:
            raise self.error_type(f"{self._display_name}: it has no readable picture")
        seen_s = self._at + 1 / self.fps
        if math.isfinite(self._length_s) and seen_s < _MIN_COMPLETE * self._length_s:
            raise self.error_type(
                f"{self._display_name}: ends after {self._index} frames ({seen_s:.1f} s of {self._length_s:.1f} s):"
                " the video is damaged or incomplete"
            )
