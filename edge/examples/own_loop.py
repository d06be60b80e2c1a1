"""A camera loop of your own that shows each picture to the pipeline: python own_loop.py [film.mp4]"""

import sys
import time

import cv2

from fer_edge import Frame, Pipeline, load_bundle, to_gray

capture = cv2.VideoCapture(sys.argv[1] if len(sys.argv) > 1 else 0)
if not capture.isOpened():
    sys.exit("no camera 0; name a film instead")

# A camera does not wait: the search for faces is to keep within its budget by what it really takes here.
run = Pipeline.from_bundle(load_bundle()).open(live=True)
index = 0
while True:
    good, picture = capture.read()
    if not good:
        break
    result = run.process(Frame("my camera", index, time.monotonic(), to_gray(picture)))
    for face in result.tracks:
        print(index, face.track_id, face.emotion, face.box.as_list())
    index += 1
