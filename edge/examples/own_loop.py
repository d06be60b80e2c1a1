"""Capture frames in your own loop, and pass each to the pipeline: python own_loop.py [video.mp4]"""

import sys
import time

import cv2

from fer_edge import Frame, Pipeline, load_bundle, to_gray

capture = cv2.VideoCapture(sys.argv[1] if len(sys.argv) > 1 else 0)
if not capture.isOpened():
    sys.exit("camera 0 not found; pass a video file instead")

# A camera does not wait for the program: keep the face detection within its budget by its measured cost.
run = Pipeline.from_bundle(load_bundle()).open(live=True)
index = 0
while True:
    success, image = capture.read()
    if not success:
        break
    result = run.process(Frame("my camera", index, time.monotonic(), to_gray(image)))
    for face in result.tracks:
        print(index, face.track_id, face.emotion, face.box.as_list())
    index += 1
