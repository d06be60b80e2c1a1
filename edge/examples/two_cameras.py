"""Process several sources, each in its own thread; if one is lost, the others continue: python two_cameras.py 0 2"""

import sys
import threading
from concurrent.futures import ThreadPoolExecutor, wait

from fer_edge import FerEdgeError, Pipeline, event_line, load_bundle, open_source, set_up_opencv

stop = threading.Event()


def watch(number: int, uri: str, pipeline: Pipeline) -> None:
    """Print the events of one source; each thread needs its own pipeline."""
    try:
        for event in pipeline.open(open_source(uri, name=f"camera {number}")).events(stop):
            line = event_line(event, local_time=True)
            print(f"{line}\n", end="", flush=True)  # one write per line, so that threads do not mix
    except FerEdgeError as error:
        print(f"camera {number}: {error}", file=sys.stderr)


set_up_opencv()
uris = sys.argv[1:] or ["demo", "demo"]
bundle = load_bundle()
# Load all pipelines before the threads start, since loading a model redirects standard error for a moment.
pipelines = [Pipeline.from_bundle(bundle) for _ in uris]
with ThreadPoolExecutor(len(uris)) as threads:
    futures = [threads.submit(watch, *given) for given in zip(range(1, len(uris) + 1), uris, pipelines, strict=True)]
    try:
        wait(futures)
    except KeyboardInterrupt:
        stop.set()
for future in futures:
    future.result()  # raises unexpected errors
