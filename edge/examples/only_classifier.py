"""The classifier alone, for a face that you have found: python only_classifier.py photo.jpg X Y WIDTH HEIGHT"""

import sys
from importlib.resources import files

import cv2

from fer_edge import Box, EmotionClassifier, Face, crop_face, load_bundle, to_gray

portrait = str(files("fer_edge") / "assets" / "astronaut.jpg")
path, *place = sys.argv[1:] or [portrait, "177", "66", "95", "95"]
picture = cv2.imread(path)
if picture is None or len(place) != 4:
    sys.exit(__doc__)

classifier = EmotionClassifier(load_bundle())
# The box reaches from the brows to the chin, as a Haar cascade's does; the crop adds the margin that the model wants.
crop = crop_face(to_gray(picture), Face(Box(*map(int, place)), score=1.0), classifier.crop_spec)
for label, probability in zip(classifier.labels, classifier.classify(crop).values, strict=True):
    print(f"{label:<10} {probability:6.1%}")
