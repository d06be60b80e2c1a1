"""The face detector alone; cuts each face out into a picture of its own: python only_detector.py [photo.jpg [DIR]]"""

import sys
from importlib.resources import files
from pathlib import Path

import cv2

from fer_edge import HaarFaceDetector, Search, to_gray

path = Path(sys.argv[1] if len(sys.argv) > 1 else str(files("fer_edge") / "assets" / "astronaut.jpg"))
picture = cv2.imread(str(path))
if picture is None:
    sys.exit(f"{path}: no picture that OpenCV can read")

gray, detector = to_gray(picture), HaarFaceDetector()
for number, face in enumerate(detector.detect(gray, Search.whole(gray)), start=1):
    box = face.box
    print(f"{box.as_list()} score {face.score:.1f}")
    if len(sys.argv) > 2:
        part = picture[box.y : box.y + box.height, box.x : box.x + box.width]
        cv2.imwrite(str(Path(sys.argv[2]) / f"{path.stem}-{number}.png"), part)
