"""Print the faces in every frame as CSV, instead of events: python frames.py [SOURCE]"""

import csv
import sys

from fer_edge import Pipeline, load_bundle, open_source

source = open_source(sys.argv[1] if len(sys.argv) > 1 else "demo")
table = csv.writer(sys.stdout)
table.writerow(["frame", "seconds", "face", "x", "y", "width", "height", "emotion", "confidence"])

for result in Pipeline.from_bundle(load_bundle()).open(source):
    for face in result.tracks:
        row = [result.frame.index, round(result.frame.captured_at, 3), face.track_id, *face.box.as_list()]
        table.writerow([*row, face.emotion, round(face.confidence, 4)])
