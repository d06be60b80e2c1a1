"""A custom source: raw grey frames from standard input, 25 per second.

ffmpeg -i video.mp4 -vf scale=640:480 -r 25 -pix_fmt gray -f rawvideo - | python custom_source.py 640 480
"""

import sys

import numpy as np

from fer_edge import ClosingSource, Frame, NoFrame, Pipeline, event_line, load_bundle


class RawFrames(ClosingSource):
    """Read frames from a file: ``live`` is False, so none is dropped. For a camera, see ``NewestFrameSource``."""

    name, live, fps, dropped = "stdin", False, 25.0, 0

    def __init__(self, width: int, height: int) -> None:
        self.size, self.index = (height, width), 0

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the next frame."""
        data = sys.stdin.buffer.read(self.size[0] * self.size[1])
        if len(data) < self.size[0] * self.size[1]:
            return NoFrame.ENDED
        self.index += 1
        gray = np.frombuffer(data, np.uint8).reshape(self.size)
        return Frame(self.name, self.index, self.index / self.fps, gray)


if len(sys.argv) != 3:
    sys.exit(__doc__)
for event in Pipeline.from_bundle(load_bundle()).open(RawFrames(int(sys.argv[1]), int(sys.argv[2]))).events():
    print(event_line(event))
