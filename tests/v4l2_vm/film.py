"""The video that a camera of the virtual machine shows: some seconds of the demo scene, as frames of a V4L2 format.

It is drawn outside before the machine starts, and read in the machine without NumPy and OpenCV, because importing them
takes ten seconds there.
"""

from __future__ import annotations

import os
from pathlib import Path

WIDTH, HEIGHT = 640, 480
FILM_FPS = 10
FORMATS = ("BGR3", "RGB3", "YUYV", "UYVY", "NV12", "YU12", "422P", "GREY")
"""Raw formats that ``encode`` knows; vivid has them all, and no compressed one."""
_FROM_S, _TO_S = 3.5, 5.5
"""A part of the scene in which the face is visible, moves and comes nearer."""


def draw_film(folder: Path) -> None:
    """Draw the video into ``folder``, outside the machine, for ``film`` in it."""
    import cv2

    from fer_edge.sources.demo.source import DemoScene

    folder.mkdir(parents=True, exist_ok=True)
    scene = DemoScene()
    for number in range(round((_TO_S - _FROM_S) * FILM_FPS)):
        gray = scene.render(_FROM_S + number / FILM_FPS, number)
        (folder / f"{number:02}.gray").write_bytes(gray.tobytes())
        colour = cv2.cvtColor(gray, cv2.COLOR_GRAY2BGR)  # like a camera's JPEG pictures
        wide = cv2.copyMakeBorder(cv2.resize(colour, (960, 720)), 0, 0, 160, 160, cv2.BORDER_REPLICATE)
        for picture in (colour, wide):
            (folder / f"{number:02}-{picture.shape[1]}.jpeg").write_bytes(cv2.imencode(".jpg", picture)[1].tobytes())


def film(fourcc: str, width: int = WIDTH) -> list[bytes]:
    """Return the frames, inside the machine, in the format ``fourcc``: one of ``FORMATS``, or MJPG for JPEG pictures.

    JPEG pictures are 640 and 1280 pixels wide. The frames run forwards and backwards, so that the end joins the start.

    Raises:
        ValueError: for another format.
    """
    kind = f"-{width}.jpeg" if fourcc == "MJPG" else ".gray"
    drawn = [path.read_bytes() for path in sorted(Path(os.environ["FILM"]).glob(f"*{kind}"))]
    frames = drawn if fourcc == "MJPG" else [encode(gray, fourcc) for gray in drawn]
    return frames + frames[-2:0:-1]


def encode(gray: bytes, fourcc: str) -> bytes:
    """Return a frame in the raw format ``fourcc`` with the grey pixels ``gray``, row by row and without padding.

    Raises:
        ValueError: for a format that is not in ``FORMATS``.
    """
    pixels = len(gray)
    if fourcc in ("BGR3", "RGB3"):
        frame = bytearray(3 * pixels)
        frame[0::3] = frame[1::3] = frame[2::3] = gray
    elif fourcc in ("YUYV", "UYVY"):
        frame = bytearray(b"\x80") * (2 * pixels)
        frame[0 if fourcc == "YUYV" else 1 :: 2] = gray
    elif fourcc in ("NV12", "YU12"):  # two chroma planes, each a quarter of the size
        frame = bytearray(gray) + b"\x80" * (pixels // 2)
    elif fourcc == "422P":
        frame = bytearray(gray) + b"\x80" * pixels
    elif fourcc == "GREY":
        frame = bytearray(gray)
    else:
        raise ValueError(f"{fourcc}: not one of {', '.join(FORMATS)}")
    return bytes(frame)


def widened(frame: bytes) -> bytes:
    """Return a packed frame of 640 x 480 pixels centred in one of 1280 x 720."""
    step = len(frame) // (WIDTH * HEIGHT)
    row, wide_row = WIDTH * step, 1280 * step
    picture = bytearray(b"\x80") * (wide_row * 720)
    for number in range(HEIGHT):
        start = (120 + number) * wide_row + (wide_row - row) // 2
        picture[start : start + row] = frame[number * row : (number + 1) * row]
    return bytes(picture)
