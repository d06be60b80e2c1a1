"""What is done to each picture before anything looks at it: turning, mirroring, region, contrast, mask.

One place for every kind of source. A step that is not asked for costs nothing, and a region is a view, no copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.protocols import ClosingSource, FrameSource, NoFrame
from fer_edge.settings.runtime import SourceSettings
from fer_edge.sources.darkness import is_empty
from fer_edge.types import Box, Frame, UInt8Array

_ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}
_LEAST_SIDE = 16
"""Pixels below which a region is a mistake: no face can be found in it."""
_CLAHE_LIMIT, _CLAHE_TILES = 2.0, (8, 8)
_MIDDLE_GREY = 0.4
"""Mean to which ``gamma`` lifts a dark picture, as a share of white; what is brighter stays as it is."""
_LEAST_GAMMA = 0.4
"""Below it little but the noise of a nearly black picture is lifted."""


def adjusted(source: FrameSource, settings: SourceSettings) -> FrameSource:
    """``source`` with its pictures as the settings want them; itself when nothing is to be done."""
    plain = SourceSettings()
    asked = any(
        getattr(settings, name) != getattr(plain, name) for name in ("rotate", "mirror", "region", "mask", "low_light")
    )
    return AdjustedSource(source, settings) if asked else source


class AdjustedSource(ClosingSource):
    """``inner`` with every picture passed through a ``View``, in the reader's thread: a dropped frame costs nothing."""

    def __init__(self, inner: FrameSource, settings: SourceSettings) -> None:
        self.name, self.fps = inner.name, inner.fps
        self.live, self.still = inner.live, inner.still
        self.dropped = inner.dropped
        self._inner = inner
        self._view = View(settings)

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """The inner source's answer, its picture adjusted. Raises ConfigError for a region outside the picture."""
        frame = self._inner.read(timeout_s)
        self.dropped = self._inner.dropped
        return replace(frame, gray=self._view(frame.gray)) if isinstance(frame, Frame) else frame

    def close(self) -> None:
        """Close the inner source."""
        self._inner.close()

    @property
    def busy(self) -> bool:
        """Whether the inner source's driver has not returned from a call."""
        return getattr(self._inner, "busy", False)


class View:
    """Turns, mirrors, cuts and masks pictures uint8 [H, W]; never writes into the picture that it is given."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._clahe = cv2.createCLAHE(_CLAHE_LIMIT, _CLAHE_TILES) if settings.low_light == "clahe" else None
        self._size = (0, 0)
        self._region: Box | None = None
        self._open: UInt8Array | None = None

    def __call__(self, gray: UInt8Array) -> UInt8Array:
        """The picture as the rest of the program sees it. Raises ConfigError for a region outside the picture."""
        settings, picture = self._settings, gray
        if settings.rotate:
            picture = _gray(cv2.rotate(picture, _ROTATIONS[settings.rotate]))
        if settings.mirror:
            picture = _gray(cv2.flip(picture, 1))
        height, width = picture.shape
        if (width, height) != self._size:
            self._fit(width, height)
        if self._region is not None:
            box = self._region
            picture = picture[box.y : box.y + box.height, box.x : box.x + box.width]
        if settings.low_light != "off" and not is_empty(picture):  # only noise would be raised
            picture = brightened(picture) if self._clahe is None else _gray(self._clahe.apply(picture))
        return picture if self._open is None else _gray(cv2.bitwise_and(picture, self._open))

    def _fit(self, width: int, height: int) -> None:
        """Work region and mask out for turned pictures of this size."""
        settings = self._settings
        self._size = width, height
        self._region = region_box(settings.region, width, height) if settings.region else None
        if settings.mask:
            box = self._region or Box(0, 0, width, height)
            whole = open_pixels(settings.mask, width, height)
            self._open = np.ascontiguousarray(whole[box.y : box.y + box.height, box.x : box.x + box.width])


def region_box(region: Sequence[float], width: int, height: int) -> Box:
    """The region in pixels of a picture of this size, cut to it. Raises ConfigError when nearly nothing is left."""
    x, y, wide, high = _in_pixels(region, width, height)
    left, top = round(x), round(y)
    box = Box(left, top, round(x + wide) - left, round(y + high) - top).clipped(width, height)
    if min(box.width, box.height) < _LEAST_SIDE:
        raise ConfigError(
            f"source.region {list(region)}: leaves less than {_LEAST_SIDE} pixels of a picture of {width}x{height}"
        )
    return box


def open_pixels(zones: Sequence[Sequence[float]], width: int, height: int) -> UInt8Array:
    """A mask uint8 [height, width]: 0 in the zones (border pixels too), 255 elsewhere.

    Raises ConfigError for a zone in pixels that reaches beyond the picture: it was measured on one of another size, and
    would hide something else, or nothing.
    """
    mask = np.full((height, width), 255, dtype=np.uint8)
    for zone in zones:
        values = _in_pixels(zone, width, height)
        across, down = max(values[::2]), max(values[1::2])
        if len(values) == 4:
            across, down = values[0] + values[2], values[1] + values[3]
        if max(zone) > 1 and (across > width or down > height):
            raise ConfigError(f"source.mask {list(zone)}: reaches beyond a picture of {width}x{height}")
        if len(values) == 4:
            x, y, wide, high = values
            mask[math.floor(y) : math.ceil(y + high), math.floor(x) : math.ceil(x + wide)] = 0
        else:
            points = np.asarray(values).reshape(-1, 2)
            cv2.fillPoly(mask, [np.rint(points).astype(np.int32)], 0)
    return mask


def brightened(gray: UInt8Array) -> UInt8Array:
    """``gray`` raised to the power (of shares of white) that brings its mean to middle grey, if it is darker."""
    mean = cv2.mean(gray)[0] / 255
    if not 0 < mean < _MIDDLE_GREY:
        return gray
    gamma = max(_LEAST_GAMMA, math.log(_MIDDLE_GREY) / math.log(mean))
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return _gray(cv2.LUT(gray, table))


def _in_pixels(values: Sequence[float], width: int, height: int) -> list[float]:
    """Pairs of x and y (or width and height): pixels as they are, shares where all are at most 1."""
    if max(values) > 1:
        return list(values)
    return [value * side for value, side in zip(values, (width, height) * (len(values) // 2), strict=True)]


def _gray(image: cv2.typing.MatLike) -> UInt8Array:
    return np.asarray(image, dtype=np.uint8)
