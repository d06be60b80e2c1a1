"""Print every face of an image with its probabilities: python image.py [photo.jpg]"""

import sys
from importlib.resources import files

import cv2

from fer_edge import FaceReader, load_bundle

path = sys.argv[1] if len(sys.argv) > 1 else str(files("fer_edge") / "assets" / "astronaut.jpg")
image = cv2.imread(path)
if image is None:
    sys.exit(f"{path}: not an image that OpenCV can read")

for face in FaceReader(load_bundle()).read(image):
    print(f"{face.emotion} {face.confidence:.0%} at {face.box.as_list()}")
    for label, probability in face.by_label().items():
        print(f"  {label:<10} {probability:6.1%}")
