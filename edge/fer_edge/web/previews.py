"""Camera images for the page: kept by reference, drawn and encoded on request."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Sequence

import cv2

from fer_edge.recording.annotate import Annotator
from fer_edge.system.closing import Closing
from fer_edge.types import FrameResult

_MAX_WIDTH_PX = 960
"""The page shows no more, and encoding larger images takes a Pi Zero too long."""
_JPEG_QUALITY = 75
_WATCHED_S = 10.0
"""Seconds after a request for which frames are kept in colour; the page requests a preview more often."""


class Previews(Closing):
    """A ``FrameRecorder`` of the newest result of each source. Thread-safe. ``labels`` determine the colours."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._lock = threading.Lock()
        self._newest: dict[str, FrameResult] = {}
        self._drawn: dict[str, _Drawn] = {}
        self._requested_at = -math.inf

    @property
    def wants_colour(self) -> bool:
        """Whether a preview was requested in the last seconds."""
        return time.monotonic() - self._requested_at < _WATCHED_S

    def record(self, result: FrameResult) -> None:
        """Keep ``result`` as the newest of its source. Draws nothing yet."""
        with self._lock:
            self._newest[result.frame.source] = result

    def jpeg(self, source: str) -> bytes | None:
        """Return the newest frame of ``source`` with boxes and labels, as JPEG; None if there is none.

        Each frame is drawn and encoded once. The first ones are grey: sources keep colour only while it is looked at.
        """
        self._requested_at = time.monotonic()
        with self._lock:
            result = self._newest.get(source)
            if result is None:
                return None
            drawn = self._drawn.setdefault(source, _Drawn(self._labels))
        return drawn.jpeg(result)


class _Drawn:
    def __init__(self, labels: Sequence[str]) -> None:
        self._lock = threading.Lock()
        self._annotator = Annotator(labels)
        self._result: FrameResult | None = None
        self._data = b""

    def jpeg(self, result: FrameResult) -> bytes:
        with self._lock:
            if result is not self._result:
                picture = self._annotator.draw(result)
                height, width = picture.shape[:2]
                if width > _MAX_WIDTH_PX:
                    size = (_MAX_WIDTH_PX, max(1, round(height * _MAX_WIDTH_PX / width)))
                    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
                self._data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1].tobytes()
                self._result = result
            return self._data
