"""A sink that adds up how long each emotion was seen: python custom_sink.py [SOURCE]"""

import sys
from collections import defaultdict

from fer_edge import ClosingSink, EmotionEvent, EventKind, Pipeline, load_bundle, open_source


class Times(ClosingSink):
    """Count the seconds of each emotion and print them on ``close``. Satisfies ``fer_edge.EventSink``."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.since: dict[int | None, float] = {}

    def emit(self, event: EmotionEvent) -> None:
        """Add the time of the previous emotion; ``appeared`` has no previous emotion and ``left`` has no new one."""
        if event.previous is not None:
            self.seconds[event.previous] += event.mono - self.since.pop(event.track_id)
        if event.emotion is not None and event.kind is not EventKind.HEARTBEAT:
            self.since[event.track_id] = event.mono

    def close(self) -> None:
        """Print the totals."""
        for emotion, seconds in self.seconds.items():
            print(f"{emotion:<10} {seconds:6.1f} s")


with Times() as sink:
    source = open_source(sys.argv[1] if len(sys.argv) > 1 else "demo")
    for event in Pipeline.from_bundle(load_bundle()).open(source).events():
        sink.emit(event)
