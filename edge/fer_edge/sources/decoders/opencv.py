"""Decode by OpenCV, which passes every picture on in BGR."""

from __future__ import annotations

import cv2

from fer_edge.images.colour import kept_colour, to_gray
from fer_edge.sources.base import Picture

_MJPG = cv2.VideoWriter.fourcc(*"MJPG")


class OpenCVDecoder:
    """A decoder on an open ``cv2.VideoCapture``.

    Colour pictures that are not kept are decoded into one reused buffer.
    """

    def __init__(self, capture: cv2.VideoCapture) -> None:
        self.capture = capture
        self.size = (round(capture.get(cv2.CAP_PROP_FRAME_WIDTH)), round(capture.get(cv2.CAP_PROP_FRAME_HEIGHT)))
        self.fps = float(capture.get(cv2.CAP_PROP_FPS))
        self.frame_count = float(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        self.codec = "mjpeg" if int(capture.get(cv2.CAP_PROP_FOURCC)) == _MJPG else ""
        self._buffer: cv2.typing.MatLike | None = None

    def read(self, *, keep_colour: bool) -> Picture | None:
        """Return the next picture, None if there is none. OpenCV does not report why."""
        good, image = self.capture.read(self._buffer)
        if not good:
            return None
        # A picture that is returned itself keeps its memory.
        kept = image.ndim == 2 or keep_colour
        self._buffer = None if kept else image
        at_s = self.capture.get(cv2.CAP_PROP_POS_MSEC) / 1000
        return Picture(to_gray(image), kept_colour(image) if kept else None, at_s)

    def close(self) -> None:
        """Close the device, file or connection."""
        self.capture.release()
