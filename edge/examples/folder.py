"""Print one line for each image of a folder: python folder.py [DIR]"""

import sys
from importlib.resources import files
from pathlib import Path

import cv2

from fer_edge import FaceReader, load_bundle

folder = Path(sys.argv[1] if len(sys.argv) > 1 else str(files("fer_edge") / "assets"))
reader = FaceReader(load_bundle())

for path in sorted(folder.iterdir()):
    image = cv2.imread(str(path))
    if image is not None:  # None for other files
        faces = reader.read(image)
        print(f"{path.name}: {', '.join(face.emotion for face in faces) or 'no face'}")
