"""Sources side by side, each in a thread of its own; one that is lost stops no other: python two_cameras.py 0 2"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

from fer_edge import FerEdgeError, Pipeline, event_line, load_bundle, open_source, set_up_opencv

bundle = load_bundle()
stop = threading.Event()


def watch(number: int, uri: str) -> None:
    """One source, with a pipeline of its own: a pipeline belongs to one thread."""
    try:
        source = open_source(uri, name=f"camera {number}")
        for event in Pipeline.from_bundle(bundle).events(source, stop):
            print(event_line(event) + "\n", end="", flush=True)  # one write, so that lines stay whole
    except FerEdgeError as error:
        print(f"camera {number}: {error}", file=sys.stderr)


set_up_opencv()
uris = sys.argv[1:] or ["demo", "demo"]
with ThreadPoolExecutor(len(uris)) as threads:
    watching = [threads.submit(watch, number, uri) for number, uri in enumerate(uris, start=1)]
    try:
        wait(watching)
    except KeyboardInterrupt:
        stop.set()
