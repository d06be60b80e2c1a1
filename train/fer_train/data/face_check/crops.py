"""Crops with and without a face, as the runtime crops them from a frame for the face check."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from fer_edge.stages.crop import crop_face
from fer_edge.stages.detection.haar import load_cascade
from fer_edge.stages.verification import CROP
from fer_edge.types import HAAR_MARGIN, Box, Face, Float32Array, UInt8Array
from fer_train.data.face_check.clutter import clutter_picture

FRAME = (400, 300)
"""Width and height of the pictures of clutter."""
_MAX_HITS = 30
"""Maximum crops from one picture: more are too similar."""
_CAMERA = 3.0
"""Grey levels of noise that a good camera has."""
_MAX_FACE, _MIN_FACE = 150, 26
"""Side in pixels of the faces' boxes."""


def face_crop(random: np.random.Generator, image: UInt8Array, other: UInt8Array, wall: Float32Array) -> UInt8Array:
    """Return a crop of FER2013's ``image``, uint8 [48, 48], in front of ``wall``; sometimes partly hidden.

    ``other`` is the image of another person, which may cover a part of the face.
    """
    picture, box = _before_wall(random, image, other, wall)
    # The error of a detector's box, and of the predicted box of a track.
    side = box.width * random.uniform(0.84, 1.22)
    x, y = (middle + random.uniform(-0.11, 0.11) * box.width for middle in box.centre)
    return _crop(picture, x, y, side)


def near_face(random: np.random.Generator, image: UInt8Array, other: UInt8Array, wall: Float32Array) -> UInt8Array:
    """Return a crop next to, inside or far around a face, with an intersection over union of less than half."""
    picture, box = _before_wall(random, image, other, wall)
    x, y = box.centre
    kind = random.random()
    if kind < 0.55:  # next to it
        turn, far = random.uniform(0, 2 * np.pi), random.uniform(0.42, 1.1) * box.width
        side = box.width * random.uniform(0.6, 1.4)
        x, y = x + far * np.cos(turn), y + far * np.sin(turn)
    elif kind < 0.85:  # an eye, the mouth, a cheek
        side = box.width * random.uniform(0.25, 0.64)
        x, y = (middle + random.uniform(-0.3, 0.3) * box.width for middle in (x, y))
    else:  # a face in the middle of much else
        side = box.width * random.uniform(1.55, 2.6)
        x, y = (middle + random.uniform(-0.3, 0.3) * box.width for middle in (x, y))
    return _crop(picture, x, y, side)


def clutter_crops(random: np.random.Generator) -> Iterator[UInt8Array]:
    """Yield the cascade's false hits in a picture without a face, and some other parts of it."""
    picture = clutter_picture(random, FRAME)
    frame = _developed(random, picture)
    reduce = random.choice((1.0, 0.6))
    small = cv2.resize(frame, None, fx=reduce, fy=reduce, interpolation=cv2.INTER_AREA)
    neighbours = int(random.choice((0, 0, 0, 1)))  # 0: every window that passes the cascade
    found = _cascade().detectMultiScale(small, float(random.choice((1.05, 1.1))), neighbours)
    hits = [Box(*(int(value / reduce) for value in hit)) for hit in found]
    for index in random.permutation(len(hits))[:_MAX_HITS]:
        box = hits[index]
        x, y = box.centre
        yield _crop(frame, x, y, box.width * random.uniform(0.9, 1.1))
    for _ in range(2):
        side = np.exp(random.uniform(np.log(_MIN_FACE), np.log(_MAX_FACE)))
        yield _crop(frame, random.uniform(0, FRAME[0]), random.uniform(0, FRAME[1]), side)


@lru_cache(maxsize=1)
def _cascade() -> Any:
    return load_cascade()


def _before_wall(
    random: np.random.Generator, image: UInt8Array, other: UInt8Array, wall: Float32Array
) -> tuple[UInt8Array, Box]:
    """Return a picture with the face in its middle, 2.6 times as wide as the face, and the face's box as by Haar."""
    side = float(np.exp(random.uniform(np.log(_MIN_FACE), np.log(_MAX_FACE))))
    whole = int(2.6 * side)
    left, top = (int(random.integers(0, max(1, length - whole))) for length in (wall.shape[1], wall.shape[0]))
    canvas = wall[top : top + whole, left : left + whole]
    if canvas.shape != (whole, whole):
        enlarged = cv2.resize(canvas, (whole, whole), interpolation=cv2.INTER_LINEAR)
        canvas = np.asarray(enlarged, dtype=np.float32)
    canvas = canvas.copy()
    middle = whole / 2
    _paste(random, canvas, image, (middle, middle), side, opacity=1.0)
    chance = random.random()
    if chance < 0.12:  # a post, a door, the edge of a wall
        share, shade = random.uniform(0.1, 0.45), random.uniform(0, 255)
        edge = int(middle + (0.5 - share) * side)
        canvas[:, edge : edge + int(0.6 * side)] = shade
        canvas = canvas if random.random() < 0.5 else canvas[:, ::-1].copy()
    elif chance < 0.2:  # another person
        off = random.choice((-1, 1)) * random.uniform(0.6, 0.9) * side
        _paste(random, canvas, other, (middle + off, middle + random.uniform(-0.2, 0.2) * side), side, opacity=1.0)
    elif chance < 0.28:  # a hand, a mask, a scarf
        y, x = (middle + random.uniform(-0.5, 0.5) * side for _ in range(2))
        axes = int(random.uniform(0.1, 0.3) * side) + 1, int(random.uniform(0.08, 0.2) * side) + 1
        cv2.ellipse(canvas, (int(x), int(y)), axes, random.uniform(0, 180), 0, 360, random.uniform(20, 230), -1)
    if random.random() < 0.3:
        _blur(random, canvas, side)
    return _developed(random, canvas), Box(round(middle - side / 2), round(middle - side / 2), round(side), round(side))


def _paste(
    random: np.random.Generator,
    canvas: Float32Array,
    image: UInt8Array,
    centre: tuple[float, float],
    side: float,
    opacity: float,
) -> None:
    """Lay a face over ``canvas``, float32 [H, W], in place: turned by up to 15 degrees, lit from a side."""
    size = image.shape[0]
    pixels = image.astype(np.float32)
    slope = random.uniform(-0.3, 0.3)
    pixels = pixels * (1 + slope * np.linspace(-0.5, 0.5, size, dtype=np.float32)[None, :])
    if random.random() < 0.5:
        pixels = pixels[:, ::-1]
    border = np.minimum(np.arange(size) + 0.5, size - 0.5 - np.arange(size)) / (0.06 * size)
    line = np.minimum(border, 1).astype(np.float32)
    matrix = cv2.getRotationMatrix2D(((size - 1) / 2,) * 2, random.normal(0, 6), side * HAAR_MARGIN / size)
    matrix[:, 2] += np.array(centre) - (size - 1) / 2
    shape = canvas.shape[1], canvas.shape[0]
    face = cv2.warpAffine(np.ascontiguousarray(pixels), matrix, shape, flags=cv2.INTER_CUBIC)
    cover = cv2.warpAffine(opacity * line[:, None] * line[None, :], matrix, shape)
    canvas += cover * (face - canvas)


def _blur(random: np.random.Generator, canvas: Float32Array, side: float) -> None:
    """Blur by defocus, or by horizontal motion."""
    if random.random() < 0.5:
        cv2.GaussianBlur(canvas, (0, 0), random.uniform(0.01, 0.05) * side, dst=canvas)
    else:
        length = max(1, int(random.uniform(0.02, 0.16) * side))
        cv2.blur(canvas, (length, 1), dst=canvas)


def _developed(random: np.random.Generator, picture: Float32Array) -> UInt8Array:
    """Return the picture as from a camera: with less light, less contrast, and noise."""
    light = random.choice((1.0, 1.0, random.uniform(0.1, 1.1)))
    lift = random.choice((0.0, 0.0, random.uniform(0, 60)))
    noise = random.choice((_CAMERA, _CAMERA, random.uniform(0, 18)))
    noisy = picture * light + lift + noise * random.standard_normal(picture.shape, dtype=np.float32)
    return np.asarray(np.clip(np.rint(noisy), 0, 255), dtype=np.uint8)


def _crop(picture: UInt8Array, x: float, y: float, side: float) -> UInt8Array:
    height, width = picture.shape
    whole = max(8, round(side))
    box = Box(round(min(max(x, 0), width - 1) - whole / 2), round(min(max(y, 0), height - 1) - whole / 2), whole, whole)
    return crop_face(picture, Face(box, 0.0), CROP).pixels
