"""Measure the time for a gray picture from each format of a USB camera: through color, and directly.

    python benchmarks/camera_formats.py [--rounds N] [--size 640x480] [--size 1280x720]

Both ways convert the same buffer to a gray picture, alternately, on one thread; processor time is measured. Through
color is what OpenCV's camera class does (a BGR picture, without its copies), followed by a conversion to gray. Directly
is what `sources/v4l2/formats.py` does. A ratio is the median of the rounds' ratios.
"""

from __future__ import annotations

import argparse
import re
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fer_edge.sources.demo.source import DemoScene
from fer_edge.sources.v4l2.formats import PixelFormat, gray_picture
from fer_edge.system.opencv_setup import set_up_opencv
from fer_edge.types import UInt8Array

_FACE_AT_S = 4.0
"""Time at which the face of the demo scene is completely in the picture."""
_JPEG_QUALITY = 85
_CALLS = 20
"""Pictures per measurement, because the clock of processor time is coarse."""
_TO_BGR = {
    "YUYV": cv2.COLOR_YUV2BGR_YUYV,
    "NV12": cv2.COLOR_YUV2BGR_NV12,
    "YU12": cv2.COLOR_YUV2BGR_IYUV,
    "GREY": cv2.COLOR_GRAY2BGR,
    "RGB3": cv2.COLOR_RGB2BGR,
}


@dataclass(frozen=True, slots=True)
class Case:
    """A camera's buffer uint8 [bytes], its format, the reduction of a JPEG, and the way through color, if any."""

    format: PixelFormat
    data: UInt8Array
    reduction: int
    by_colours: Callable[[], UInt8Array] | None

    def straight(self) -> UInt8Array:
        """Return the gray picture, as the program computes it."""
        return gray_picture(self.data, self.format, self.reduction)


@dataclass(frozen=True, slots=True)
class Cost:
    """Processor time in ms per picture, through color (if possible) and directly, and their ratio."""

    case: Case
    by_colours_ms: float | None
    straight_ms: float
    ratio: float | None


def cases(width: int, height: int) -> list[Case]:
    """Return the same picture of a face in each format; the JPEG also reduced to half the size."""
    gray = DemoScene().render(_FACE_AT_S, 0)
    scene = np.asarray(cv2.resize(cv2.applyColorMap(gray, cv2.COLORMAP_BONE), (width, height)), np.uint8)
    planes = np.asarray(cv2.cvtColor(scene, cv2.COLOR_BGR2YUV_I420), np.uint8).reshape(-1)
    luma, colours = planes[: width * height], planes[width * height :].reshape(2, -1)
    packed = np.full((height, width, 2), 128, np.uint8)
    packed[:, :, 0] = luma.reshape(height, width)
    jpeg = np.asarray(cv2.imencode(".jpg", scene, [cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY])[1], np.uint8).reshape(-1)
    buffers = {
        "YUYV": (packed, 2),
        "NV12": (np.concatenate([luma, colours.T.reshape(-1)]), 1),
        "YU12": (planes, 1),
        "422P": (np.concatenate([luma, np.repeat(colours.reshape(-1), 2)]), 1),
        "GREY": (luma, 1),
        "RGB3": (scene[:, :, ::-1], 3),
        "BGR3": (scene, 3),
        "MJPG": (jpeg, 0),
    }
    found = []
    for name, (buffer, step) in buffers.items():
        data = np.ascontiguousarray(buffer).reshape(-1)
        format = PixelFormat(name, width, height, step * width)
        found.append(Case(format, data, 1, _by_colours(format, data)))
        if name == "MJPG":
            found.append(Case(format, data, 2, _by_colours(format, data)))
    return found


def _by_colours(format: PixelFormat, data: UInt8Array) -> Callable[[], UInt8Array] | None:
    height, width = format.height, format.width
    if format.name == "422P":  # OpenCV does not convert it
        return None
    if format.name == "MJPG":
        return lambda: _gray(cv2.imdecode(data, cv2.IMREAD_COLOR))
    if format.name == "BGR3":
        return lambda: _gray(data.reshape(height, width, 3))
    shapes = {"NV12": (height * 3 // 2, width), "YU12": (height * 3 // 2, width), "GREY": (height, width)}
    shape = shapes.get(format.name, (height, width, format.stride // width))
    return lambda: _gray(cv2.cvtColor(data.reshape(shape), _TO_BGR[format.name]))


def _gray(picture: cv2.typing.MatLike | None) -> UInt8Array:
    if picture is None:
        raise ValueError("not a picture")
    return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), np.uint8)


def measure(case: Case, rounds: int) -> Cost:
    """Measure both ways alternately, ``rounds`` times."""
    straight, by_colours, ratios = [], [], []
    for _ in range(rounds):
        straight.append(_milliseconds(case.straight))
        if case.by_colours is not None:
            by_colours.append(_milliseconds(case.by_colours))
            ratios.append(straight[-1] / by_colours[-1])
    if not ratios:
        return Cost(case, None, statistics.median(straight), None)
    return Cost(case, statistics.median(by_colours), statistics.median(straight), statistics.median(ratios))


def _milliseconds(make: Callable[[], UInt8Array]) -> float:
    began = time.thread_time()
    for _ in range(_CALLS):
        make()
    return (time.thread_time() - began) / _CALLS * 1000


def table(costs: list[Cost]) -> str:
    """Return the costs as a Markdown table."""
    lines = ["| format | through color | directly | ratio |", "| --- | ---: | ---: | ---: |"]
    for cost in costs:
        halved = ", decoded to half the size" if cost.case.reduction == 2 else ""
        old = "not possible" if cost.by_colours_ms is None else f"{cost.by_colours_ms:.3f} ms"
        ratio = "" if cost.ratio is None else f"{cost.ratio:.2f}"
        lines.append(f"| {cost.case.format}{halved} | {old} | {cost.straight_ms:.3f} ms | {ratio} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="camera_formats", description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=31, metavar="N", help="measurements of each (31)")
    parser.add_argument("--size", action="append", metavar="WxH", help="size of the pictures; may be given again")
    arguments = parser.parse_args()
    set_up_opencv()
    costs = []
    for size in arguments.size or ["640x480", "1280x720"]:
        if not re.fullmatch(r"[1-9]\d{1,3}x[1-9]\d{1,3}", size):
            parser.error(f"--size {size}: must be two numbers such as 640x480")
        width, height = map(int, size.split("x"))
        costs += [measure(case, arguments.rounds) for case in cases(width, height)]
    sys.stdout.write(
        f"OpenCV {cv2.__version__}, NumPy {np.__version__}, processor time of one thread\n\n{table(costs)}"
    )


if __name__ == "__main__":
    main()
