"""A face detector of your own; here, another of OpenCV's cascades: python own_detector.py [SOURCE]"""

import sys
from typing import Any

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt

from fer_edge import Box, EmotionClassifier, Face, Pipeline, event_line, load_bundle, open_source


class OtherCascade:
    """Fits ``FaceDetector``: faces in ``region`` of a frame (None: all), in the frame's pixels."""

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def detect(self, gray: npt.NDArray[np.uint8], region: Box | None = None, **hints: Any) -> list[Face]:
        """``hints`` hold how far the region may be reduced and which sizes of face are expected: not used here."""
        height, width = gray.shape
        area = Box(0, 0, width, height) if region is None else region.clipped(width, height)
        part = gray[area.y : area.y + area.height, area.x : area.x + area.width]
        found = self.cascade.detectMultiScale(part, 1.2, 2, minSize=(48, 48))
        return [Face(Box(area.x + int(x), area.y + int(y), int(w), int(h)), score=1.0) for x, y, w, h in found]


pipeline = Pipeline(OtherCascade(), EmotionClassifier(load_bundle()))
for event in pipeline.events(open_source(sys.argv[1] if len(sys.argv) > 1 else "demo")):
    print(event_line(event))
