"""A custom sink, which sums up the seconds of each emotion: python custom_sink.py [SOURCE]"""

import sys
from collections import defaultdict

from fer_edge import ClosingSink, EmotionEvent, EventKind, Pipeline, load_bundle, open_source


class EmotionTimes(ClosingSink):
    """Sum up the seconds of each emotion, and print them on ``close``."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self.since: dict[int | None, float] = {}

    def emit(self, event: EmotionEvent) -> None:
        """Add an event: ``appeared`` has no previous emotion, ``left`` has no new one, ``changed`` has both."""
        if event.previous is not None:
            self.seconds[event.previous] += event.mono - self.since.pop(event.track_id)
        if event.emotion is not None and event.kind is not EventKind.HEARTBEAT:  # a heartbeat repeats the emotion
            self.since[event.track_id] = event.mono

    def close(self) -> None:
        """Print the sums."""
        for emotion, seconds in self.seconds.items():
            print(f"{emotion:<10} {seconds:6.1f} s")


with EmotionTimes() as sink:
    source = open_source(sys.argv[1] if len(sys.argv) > 1 else "demo")
    for event in Pipeline.from_bundle(load_bundle()).open(source).events():
        sink.emit(event)
