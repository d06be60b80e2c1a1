"""A custom face detector, here another of OpenCV's cascades: python own_detector.py [SOURCE]"""

import sys

import cv2
import cv2.data
import numpy as np
import numpy.typing as npt

from fer_edge import Box, EmotionClassifier, Face, Pipeline, Search, event_line, load_bundle, open_source


class OtherCascade:
    """Implements ``FaceDetector``."""

    cascade = cv2.CascadeClassifier(cv2.data.haarcascades + "haarcascade_frontalface_alt2.xml")

    def detect(self, gray: npt.NDArray[np.uint8], search: Search) -> list[Face]:
        """Return the faces in ``search.region``. The other fields of ``search`` are hints, not used here."""
        height, width = gray.shape
        area = search.region.clipped(width, height)
        patch = gray[area.y : area.y + area.height, area.x : area.x + area.width]
        found = self.cascade.detectMultiScale(patch, 1.2, 2, minSize=(48, 48))
        return [Face(Box(area.x + int(x), area.y + int(y), int(w), int(h)), score=1.0) for x, y, w, h in found]


pipeline = Pipeline(OtherCascade(), EmotionClassifier(load_bundle()))
for event in pipeline.open(open_source(sys.argv[1] if len(sys.argv) > 1 else "demo")).events():
    print(event_line(event))
