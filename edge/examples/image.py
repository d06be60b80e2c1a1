"""Every face of one picture, with all its probabilities: python image.py [photo.jpg]"""

import sys
from importlib.resources import files

import cv2

from fer_edge import FaceReader, load_bundle

path = sys.argv[1] if len(sys.argv) > 1 else str(files("fer_edge") / "assets" / "astronaut.jpg")
picture = cv2.imread(path)
if picture is None:
    sys.exit(f"{path}: no picture that OpenCV can read")

for face in FaceReader(load_bundle()).read(picture):
    print(f"{face.emotion} {face.confidence:.0%} at {face.box.as_list()}")
    for label, probability in face.by_label().items():
        print(f"  {label:<10} {probability:6.1%}")
