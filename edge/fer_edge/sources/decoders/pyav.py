"""Decode by PyAV, FFmpeg's own interface: the grey picture is the decoded Y plane.

PyAV is an extra and is imported only here. Every call has a time limit, and FFmpeg itself refuses pictures that are too
large.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fer_edge.sources.base import Picture
from fer_edge.system.extras import missing_packages, require_extra
from fer_edge.types import UInt8Array

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

_LUMA_FORMATS = frozenset(
    f"yuv{'j' if full else ''}{sampling}p" for full in (False, True) for sampling in (410, 411, 420, 422, 440, 444)
) | {"nv12", "nv21", "nv16", "nv24", "gray", "yuva420p", "yuva422p", "yuva444p"}
"""Pixel formats whose first plane is the grey picture, 8 bits per pixel."""
_FULL_RANGE = 2
"""AVCOL_RANGE_JPEG: black is 0 and white 255. Otherwise they are 16 and 235 (ITU-R BT.601)."""
_FULL_RANGE_LEVELS = np.clip(np.rint((np.arange(256) - 16) * (255 / 219)), 0, 255).astype(np.uint8)
_MAX_DAMAGED_IN_A_ROW = 512
"""OpenCV gives up after as many packets that cannot be decoded."""
_ROTATIONS = {90: cv2.ROTATE_90_COUNTERCLOCKWISE, 180: cv2.ROTATE_180, 270: cv2.ROTATE_90_CLOCKWISE}


def choose_pyav(decoder: str) -> bool:
    """Return whether PyAV decodes, for ``source.decoder`` of ``auto``, ``opencv`` or ``pyav``.

    Raises:
        MissingExtraError: if it is to decode and is not installed.
    """
    if decoder == "pyav":
        require_extra("video")
    return decoder == "pyav" or (decoder == "auto" and not missing_packages("video"))


class PyAVDecoder:
    """The first video stream of a film or network stream.

    Args:
        url: Path or URL.
        max_pixels: Larger pictures are not decoded.
        options: FFmpeg's options of protocol and container.
        timeout_s: Limit of opening, and of each read.

    Raises:
        TimeoutError: if it is not open within ``timeout_s``.
        OSError: if it cannot be opened, or has no video; the message says why.
    """

    def __init__(
        self, url: str, *, max_pixels: int, options: dict[str, str] | None = None, timeout_s: float | None = None
    ) -> None:
        import av

        self._errors = (av.FFmpegError, OSError, ValueError, EOFError)
        av.logging.set_level(None)
        began = time.monotonic()
        container: InputContainer | None = None
        try:
            container = av.open(url, options=options or {}, timeout=timeout_s)
            if not container.streams.video:
                raise OSError("it has no video")
            self._stream = container.streams.video[0]
        except self._errors as error:
            if container is not None:
                container.close()
            if timeout_s is not None and time.monotonic() - began >= timeout_s:  # the error itself may be any
                raise TimeoutError(f"not opened within {timeout_s:g} s") from None
            raise OSError(str(error)) from None
        self._container = container
        context = self._stream.codec_context
        context.thread_count = 1
        context.options = {**context.options, "max_pixels": str(max_pixels)}
        self.size = context.width, context.height
        self.fps = float(self._stream.guessed_rate or self._stream.average_rate or 0)
        self.codec = context.name
        self.frame_count = float(self._stream.frames or self.fps * _duration_s(self._container, self._stream))
        self._frames = self._decode()

    def read(self, *, keep_colour: bool) -> Picture | None:
        """Return the next picture, None if there is none."""
        frame = next(self._frames, None)
        if frame is None:
            return None
        gray, bgr = _gray(frame), None
        if keep_colour and not frame.format.name.startswith("gray"):
            bgr = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
        turn = _ROTATIONS.get(round(frame.rotation) % 360)  # a phone's film
        if turn is not None:
            gray = np.asarray(cv2.rotate(gray, turn), np.uint8)
            bgr = None if bgr is None else np.asarray(cv2.rotate(bgr, turn), np.uint8)
        return Picture(gray, bgr, self._time_s(frame))

    def close(self) -> None:
        """Close the file or connection."""
        self._frames = iter(())
        self._container.close()

    def _decode(self) -> Iterator[VideoFrame]:
        """Yield frames; damaged packets are skipped. Ends at the end, or if the source broke off or sends nothing."""
        packets = self._container.demux(self._stream)
        damaged = 0
        while damaged < _MAX_DAMAGED_IN_A_ROW:
            try:
                packet = next(packets, None)
            except self._errors:
                return
            if packet is None:
                return
            try:
                for frame in packet.decode():
                    damaged = 0
                    yield frame
            except self._errors:
                damaged += 1

    def _time_s(self, frame: VideoFrame) -> float:
        if frame.pts is None or frame.time_base is None:
            return math.nan
        return float((frame.pts - (self._stream.start_time or 0)) * frame.time_base)


def _duration_s(container: InputContainer, stream: VideoStream) -> float:
    if stream.duration is not None and stream.time_base is not None:
        return float(stream.duration * stream.time_base)
    return 0.0 if container.duration is None else container.duration / 1e6


def _gray(frame: VideoFrame) -> UInt8Array:
    """Return the brightness, uint8 [H, W], from 0 for black to 255 for white, as OpenCV's pictures have it."""
    name = frame.format.name
    if name not in _LUMA_FORMATS:
        return np.asarray(frame.to_ndarray(format="gray"), np.uint8)
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]  # type: ignore[call-overload]
    if name == "gray" or name.startswith("yuvj") or frame.color_range == _FULL_RANGE:
        return np.array(rows)
    return np.asarray(cv2.LUT(rows, _FULL_RANGE_LEVELS), np.uint8)
