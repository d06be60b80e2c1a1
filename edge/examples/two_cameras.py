"""Sources side by side, each in a thread of its own; one that is lost stops no other: python two_cameras.py 0 2"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

from fer_edge import FerEdgeError, Pipeline, event_line, load_bundle, open_source, set_up_opencv

stop = threading.Event()


def watch(number: int, uri: str, pipeline: Pipeline) -> None:
    """One source, with a pipeline of its own: a pipeline belongs to one thread."""
    try:
        for event in pipeline.open(open_source(uri, name=f"camera {number}")).events(stop):
            print(event_line(event) + "\n", end="", flush=True)  # one write, so that lines stay whole
    except FerEdgeError as error:
        print(f"camera {number}: {error}", file=sys.stderr)


set_up_opencv()
uris = sys.argv[1:] or ["demo", "demo"]
bundle = load_bundle()
pipelines = [Pipeline.from_bundle(bundle) for _ in uris]  # before the threads: loading one hides standard error
with ThreadPoolExecutor(len(uris)) as threads:
    watching = [threads.submit(watch, *given) for given in zip(range(1, len(uris) + 1), uris, pipelines, strict=True)]
    try:
        wait(watching)
    except KeyboardInterrupt:
        stop.set()
for one in watching:
    one.result()  # raises what went wrong in the program itself
