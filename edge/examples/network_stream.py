"""Reopen a stream whenever it ends or is lost: python network_stream.py rtsp://user:password@door/live

The second argument limits the number of attempts: python network_stream.py http://door/mjpeg 3
"""

import contextlib
import itertools
import sys
import time

from fer_edge import Pipeline, SourceLostError, SourceSettings, event_line, load_bundle, open_source, set_up_opencv

if len(sys.argv) < 2:
    sys.exit(__doc__)
url, attempts = sys.argv[1], int(sys.argv[2]) if len(sys.argv) > 2 else None
set_up_opencv()  # no log output, one thread
pipeline = Pipeline.from_bundle(load_bundle())

with contextlib.suppress(KeyboardInterrupt):
    for _ in itertools.count() if attempts is None else range(attempts):
        try:
            for event in pipeline.open(open_source(url, SourceSettings(timeout_s=5))).events():
                print(event_line(event, local_time=True), flush=True)
        except SourceLostError as error:
            print(error, file=sys.stderr)
        time.sleep(1)  # also after a regular end, so that a short video is not requested in a tight loop
