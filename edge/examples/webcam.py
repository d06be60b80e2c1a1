"""Print a camera's events until Ctrl-C: python webcam.py [0 | /dev/video2 | picamera2 | video.mp4]"""

import sys

from fer_edge import FerEdgeError, Pipeline, event_line, load_bundle, open_source, set_up_opencv

set_up_opencv()  # no log output, one thread
try:
    camera = open_source(sys.argv[1] if len(sys.argv) > 1 else "0")
    for event in Pipeline.from_bundle(load_bundle()).open(camera).events():
        print(event_line(event, local_time=True), flush=True)
except KeyboardInterrupt:
    pass
except FerEdgeError as error:  # for example, no camera; the exit code is that of fer-edge run
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
