"""The cameras' pictures for the page: kept by reference, drawn and encoded only when somebody asks."""

from __future__ import annotations

import threading
from collections.abc import Sequence

import cv2

from fer_edge.recording.annotate import Annotator
from fer_edge.types import FrameResult

_WIDEST = 960
"""Pixels; a page shows no more, and a small computer takes long to encode more."""
_QUALITY = 75


class Previews:
    """The newest result of each source; every method may be called from any thread. ``labels`` fix the colours."""

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)
        self._lock = threading.Lock()
        self._newest: dict[str, FrameResult] = {}
        self._drawn: dict[str, _Drawn] = {}

    def put(self, result: FrameResult) -> None:
        """Keep ``result`` in place of its source's last one; nothing is drawn yet."""
        with self._lock:
            self._newest[result.frame.source] = result

    def jpeg(self, source: str) -> bytes | None:
        """The newest picture of ``source`` with boxes and labels, as JPEG; None when there is none.

        It is drawn once, however often it is asked for.
        """
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
                if width > _WIDEST:
                    size = (_WIDEST, max(1, round(height * _WIDEST / width)))
                    picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
                self._data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])[1].tobytes()
                self._result = result
            return self._data
