"""Write docs/demo.webp, the animation at the top of the README, from the frames of ``fer-edge demo``.

python docs/write_demo_picture.py
"""

from __future__ import annotations

from collections import deque
from pathlib import Path

import cv2
from PIL import Image

from fer_edge import Annotator, Pipeline, load_bundle, open_source
from fer_edge.recording.annotate import with_lines
from fer_edge.sinks.console import event_line

PICTURE = Path(__file__).parent / "demo.webp"
_EVERY = 3
"""Every third frame, 5 a second."""
_SIZE = (480, 428)
_QUALITY = 60


def main() -> None:
    """Write the picture."""
    bundle = load_bundle()
    annotator, events, frames = Annotator(bundle.manifest.labels), deque[str](maxlen=4), []
    with open_source("demo:emotions", name="demo") as source:
        source.keep_colour = True
        for result in Pipeline.from_bundle(bundle).open(source):
            events.extend(event_line(event) for event in result.events)
            if result.frame.index % _EVERY == 0:
                picture = with_lines(annotator.draw(result), events, max_lines=4)
                small = cv2.resize(picture, _SIZE, interpolation=cv2.INTER_AREA)
                frames.append(Image.fromarray(cv2.cvtColor(small, cv2.COLOR_BGR2RGB)))
    frames[0].save(PICTURE, save_all=True, append_images=frames[1:], duration=200, loop=0, quality=_QUALITY, method=6)


if __name__ == "__main__":
    main()
