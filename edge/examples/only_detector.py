"""Detect the faces of an image, and save each as an image in DIR: python only_detector.py [photo.jpg [DIR]]"""

import sys
from importlib.resources import files
from pathlib import Path

import cv2

from fer_edge import HaarFaceDetector, Search, to_gray

path = Path(sys.argv[1] if len(sys.argv) > 1 else str(files("fer_edge") / "assets" / "astronaut.jpg"))
image = cv2.imread(str(path))
if image is None:
    sys.exit(f"{path}: not an image that OpenCV can read")

gray, detector = to_gray(image), HaarFaceDetector()
for number, face in enumerate(detector.detect(gray, Search.whole(gray)), start=1):
    box = face.box
    print(f"{box.as_list()} score {face.score:.1f}")
    if len(sys.argv) > 2:
        crop = image[box.y : box.y + box.height, box.x : box.x + box.width]
        cv2.imwrite(str(Path(sys.argv[2]) / f"{path.stem}-{number}.png"), crop)
