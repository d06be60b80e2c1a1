"""A stream that is opened again whenever it ends or breaks off: python network_stream.py rtsp://user:password@door/live

A second argument is how often to try (for ever): python network_stream.py http://door/mjpeg 3
"""

import contextlib
import itertools
import sys
import time

from fer_edge import Pipeline, SourceLostError, SourceSettings, event_line, load_bundle, open_source, set_up_opencv

if len(sys.argv) < 2:
    sys.exit(__doc__)
url, tries = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
set_up_opencv()  # quiet and on one thread, as in fer-edge run
pipeline = Pipeline.from_bundle(load_bundle())

with contextlib.suppress(KeyboardInterrupt):
    for _ in itertools.count() if tries is None else range(tries):
        try:
            for event in pipeline.open(open_source(url, SourceSettings(timeout_s=5))).events():
                print(event_line(event), flush=True)
        except SourceLostError as error:
            print(error, file=sys.stderr)
        time.sleep(1)  # after an end, too: a film would be asked for again at once
