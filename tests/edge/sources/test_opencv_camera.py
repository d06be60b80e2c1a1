"""A camera through OpenCV whose driver does not return."""

from __future__ import annotations

import threading

import cv2
import numpy as np
import pytest

from fer_edge.errors import SourceLostError
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.opencv_camera import OpenCVCamera
from fer_edge.types import UInt8Array


class SlowCapture:
    """A cv2.VideoCapture of 64x48 pixels; ``read`` waits for ``sent``."""

    def __init__(self, index: int, api: int) -> None:
        self.inside, self.sent = threading.Event(), threading.Event()
        self.released_while_reading: bool | None = None

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        return True

    def get(self, key: int) -> float:
        return {cv2.CAP_PROP_FRAME_WIDTH: 64.0, cv2.CAP_PROP_FRAME_HEIGHT: 48.0, cv2.CAP_PROP_FPS: 30.0}.get(key, 0.0)

    def set(self, key: int, value: float) -> bool:
        return True

    def read(self, image: UInt8Array | None = None) -> tuple[bool, UInt8Array]:
        self.inside.set()
        assert self.sent.wait(20)
        self.inside.clear()
        return True, np.zeros((48, 64, 3), np.uint8)

    def release(self) -> None:
        self.released_while_reading = self.inside.is_set()


def test_it_is_not_released_while_the_driver_reads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cv2, "VideoCapture", SlowCapture)
    camera = OpenCVCamera(0, SourceSettings(), "desk")
    capture = camera._capture
    assert isinstance(capture, SlowCapture)
    lost = []

    def read() -> None:
        try:
            camera.read(1.0)
        except SourceLostError as error:
            lost.append(str(error))

    reader = threading.Thread(target=read)
    reader.start()
    assert capture.inside.wait(20) and camera.busy
    camera.close()
    assert capture.released_while_reading is None
    capture.sent.set()
    reader.join(20)
    assert capture.released_while_reading is False and not camera.busy
    assert len(lost) == 1 and "stopped sending frames" in lost[0]
