"""Classify a face at a known position: python only_classifier.py photo.jpg X Y WIDTH HEIGHT"""

import sys
from importlib.resources import files

import cv2

from fer_edge import Box, EmotionClassifier, Face, crop_face, load_bundle, to_gray

portrait = str(files("fer_edge") / "assets" / "astronaut.jpg")
path, *box = sys.argv[1:] or [portrait, "177", "66", "95", "95"]
image = cv2.imread(path)
if image is None or len(box) != 4:
    sys.exit(__doc__)

classifier = EmotionClassifier(load_bundle())
# The box extends from the brows to the chin, like a Haar cascade's; the crop adds the margin for the model.
crop = crop_face(to_gray(image), Face(Box(*map(int, box)), score=1.0), classifier.crop_spec)
for label, probability in zip(classifier.labels, classifier.classify(crop).values, strict=True):
    print(f"{label:<10} {probability:6.1%}")
