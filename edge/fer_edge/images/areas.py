"""Areas of a picture as settings have them: a rectangle [x, y, width, height], or a polygon [x1, y1, x2, y2, …]."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np

from fer_edge.types import UInt8Array


def in_pixels(values: Sequence[float], width: int, height: int) -> list[float]:
    """Return pairs of x and y (or width and height) in pixels; values that are all at most 1 are shares of the size."""
    if max(values) > 1:
        return list(values)
    return [value * side for value, side in zip(values, (width, height) * (len(values) // 2), strict=True)]


def fill_area(picture: UInt8Array, area: Sequence[float], value: int) -> None:
    """Set the pixels of ``picture``, uint8 [H, W], inside ``area`` and on its border to ``value``.

    Raises:
        ValueError: if an area in pixels extends beyond the picture: it was measured on a picture of another size, and
            would cover the wrong part.
    """
    height, width = picture.shape
    points = np.reshape(in_pixels(area, width, height), (-1, 2))
    rectangle = len(points) == 2
    if rectangle:
        points[1] += points[0]  # its size becomes its corner
    if max(area) > 1 and np.any(points > (width, height)):
        raise ValueError(f"{list(area)}: extends beyond the picture of {width}x{height}")
    if rectangle:
        (left, top), (right, bottom) = points
        picture[math.floor(top) : math.ceil(bottom), math.floor(left) : math.ceil(right)] = value
    else:
        cv2.fillPoly(picture, [np.rint(points).astype(np.int32)], value)
