"""Preprocess pictures for every kind of source: rotation, mirroring, region, contrast, mask.

A step that is not configured costs nothing, and a region is a view, not a copy.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.images.areas import fill_area, in_pixels
from fer_edge.images.colour import with_luma
from fer_edge.protocols import FrameSource, NoFrame
from fer_edge.settings.source import SourceSettings
from fer_edge.sources.base import SourceWrapper
from fer_edge.sources.darkness import NOISE_SPREAD, is_dark
from fer_edge.types import Box, Frame, UInt8Array

_ROTATIONS = {
    90: cv2.ROTATE_90_CLOCKWISE,
    180: cv2.ROTATE_180,
    270: cv2.ROTATE_90_COUNTERCLOCKWISE,
}
_MIN_SIDE_PX = 16
"""A smaller region is a mistake: it cannot hold a detectable face."""
_CLAHE_LIMIT, _CLAHE_TILES = 2.0, (8, 8)
_MIDDLE_GREY = 0.4
"""``gamma`` raises the mean of a darker picture to this share of white; brighter pictures are unchanged."""
_MIN_GAMMA = 0.4
"""A lower gamma would amplify mainly the noise of a nearly black picture."""


def adjust_source(source: FrameSource, settings: SourceSettings) -> FrameSource:
    """Return ``source`` with its pictures preprocessed by the settings, or ``source`` itself if they change nothing."""
    plain = SourceSettings()
    asked = any(
        getattr(settings, name) != getattr(plain, name) for name in ("rotate", "mirror", "region", "mask", "low_light")
    )
    return AdjustedSource(source, settings) if asked else source


class AdjustedSource(SourceWrapper):
    """Passes each picture of ``inner`` through a ``View`` in the reader's thread: dropped frames cost nothing."""

    def __init__(self, inner: FrameSource, settings: SourceSettings) -> None:
        super().__init__(inner)
        self._view = View(settings)

    def read(self, timeout_s: float) -> Frame | NoFrame:
        """Return the inner source's answer with its picture preprocessed.

        Raises:
            ConfigError: if the region or mask lies outside the picture.
        """
        frame = self._inner.read(timeout_s)
        self.dropped = self._inner.dropped
        if not isinstance(frame, Frame):
            return frame
        gray = self._view(frame.gray)
        return replace(frame, gray=gray, bgr=None if frame.bgr is None else self._view.in_colour(frame.bgr, gray))


class View:
    """Rotates, mirrors, crops and masks pictures, uint8 [H, W]. Never modifies its input."""

    def __init__(self, settings: SourceSettings) -> None:
        self._settings = settings
        self._clahe = cv2.createCLAHE(_CLAHE_LIMIT, _CLAHE_TILES) if settings.low_light == "clahe" else None
        self._size = (0, 0)
        self._region: Box | None = None
        self._mask: UInt8Array | None = None

    def __call__(self, gray: UInt8Array) -> UInt8Array:
        """Return the preprocessed picture.

        Raises:
            ConfigError: if the region or mask lies outside the picture.
        """
        settings, picture = self._settings, self._placed(gray)
        if settings.low_light != "off" and not is_dark(picture, NOISE_SPREAD):  # only noise would be amplified
            picture = brighten(picture) if self._clahe is None else _array(self._clahe.apply(picture))
        return picture if self._mask is None else _array(cv2.bitwise_and(picture, self._mask))

    def in_colour(self, bgr: UInt8Array, gray: UInt8Array) -> UInt8Array:
        """Return the same view in colour, uint8 [H, W, 3]; ``gray`` is the preprocessed grey picture of the same frame.

        The mask hides the same part of it.
        """
        picture = self._placed(bgr)
        if self._settings.low_light != "off":
            picture = with_luma(picture, gray)
        return picture if self._mask is None else _array(cv2.bitwise_and(picture, picture, mask=self._mask))

    def _placed(self, picture: UInt8Array) -> UInt8Array:
        """Return the picture rotated, mirrored and cropped."""
        settings = self._settings
        if settings.rotate:
            picture = _array(cv2.rotate(picture, _ROTATIONS[settings.rotate]))
        if settings.mirror:
            picture = _array(cv2.flip(picture, 1))
        height, width = picture.shape[:2]
        if (width, height) != self._size:
            self._compute_geometry(width, height)
        if self._region is None:
            return picture
        box = self._region
        return picture[box.y : box.y + box.height, box.x : box.x + box.width]

    def _compute_geometry(self, width: int, height: int) -> None:
        """Compute region and mask for rotated pictures of this size."""
        settings = self._settings
        self._size = width, height
        self._region = region_box(settings.region, width, height) if settings.region else None
        if settings.mask:
            box = self._region or Box(0, 0, width, height)
            whole = make_mask(settings.mask, width, height)
            self._mask = np.ascontiguousarray(whole[box.y : box.y + box.height, box.x : box.x + box.width])


def region_box(region: Sequence[float], width: int, height: int) -> Box:
    """Return the region in pixels, clipped to a picture of this size.

    Raises:
        ConfigError: if less than 16 pixels of a side remain.

    >>> region_box((0.25, 0.0, 0.5, 1.0), 640, 480)
    Box(x=160, y=0, width=320, height=480)
    """
    x, y, wide, high = in_pixels(region, width, height)
    left, top = round(x), round(y)
    box = Box(left, top, round(x + wide) - left, round(y + high) - top).clipped(width, height)
    if min(box.width, box.height) < _MIN_SIDE_PX:
        raise ConfigError(
            f"source.region {list(region)}: a side is less than {_MIN_SIDE_PX} pixels in a picture of {width}x{height}"
        )
    return box


def make_mask(zones: Sequence[Sequence[float]], width: int, height: int) -> UInt8Array:
    """Return a mask, uint8 [height, width]: 0 in the zones including their border pixels, 255 elsewhere.

    Raises:
        ConfigError: if a zone in pixels extends beyond the picture. It was measured on a picture of another size, and
            would hide the wrong part.
    """
    mask = np.full((height, width), 255, dtype=np.uint8)
    for zone in zones:
        try:
            fill_area(mask, zone, 0)
        except ValueError as error:
            raise ConfigError(f"source.mask {error}") from None
    return mask


def brighten(gray: UInt8Array) -> UInt8Array:
    """Return ``gray`` with the gamma that brings its mean to middle grey, or ``gray`` itself if it is bright enough."""
    mean = cv2.mean(gray)[0] / 255
    if not 0 < mean < _MIDDLE_GREY:
        return gray
    gamma = max(_MIN_GAMMA, math.log(_MIDDLE_GREY) / math.log(mean))
    table = np.rint(255 * (np.arange(256) / 255) ** gamma).astype(np.uint8)
    return _array(cv2.LUT(gray, table))


def _array(image: cv2.typing.MatLike) -> UInt8Array:
    return np.asarray(image, dtype=np.uint8)
