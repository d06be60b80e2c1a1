"""Draw pictures that are the same, byte for byte, on every machine.

OpenCV's warps and NumPy's random numbers may change with version and processor. So this module uses only raw generator
bits, whose stream NumPy keeps stable, and +, -, *, / on single elements, which IEEE 754 defines exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.types import Box, Float32Array, UInt8Array

_BYTE_SUM_SIGMA = 147.8
"""Standard deviation of the sum of four uniform bytes: sqrt(4 * (256**2 - 1) / 12)."""


def random_bytes(seed: Sequence[int], shape: tuple[int, ...]) -> UInt8Array:
    """Return uniform bytes, uint8 of ``shape``, from ``seed`` (numbers of 0 or more)."""
    count = math.prod(shape)
    raw = np.random.PCG64(list(seed)).random_raw(-(-count // 8))
    return np.asarray(raw, dtype="<u8").view(np.uint8)[:count].reshape(shape)


def random_shares(seed: Sequence[int], count: int) -> list[float]:
    """Return ``count`` uniform numbers in [0, 1)."""
    raw = np.random.PCG64(list(seed)).random_raw(count)
    return [int(bits >> 11) / 2**53 for bits in raw.tolist()]


def random_order(seed: Sequence[int], count: int) -> npt.NDArray[np.int64]:
    """Return the numbers 0..``count`` - 1 in random order, int64."""
    return np.argsort(np.random.PCG64(list(seed)).random_raw(count), kind="stable").astype(np.int64)


def noise_field(seed: Sequence[int], shape: tuple[int, int], sigma: float) -> Float32Array:
    """Return nearly normal noise with mean 0, float32 of ``shape``."""
    fields = random_bytes(seed, (4, *shape)).astype(np.float32)
    total: Float32Array = fields[0] + fields[1] + fields[2] + fields[3]
    return (total - 510.0) * (sigma / _BYTE_SUM_SIGMA)


def value_noise(seed: Sequence[int], cells: tuple[int, int], shape: tuple[int, int], strength: float) -> Float32Array:
    """Return value noise, float32 of ``shape`` in -``strength``..``strength``: a smoothly interpolated lattice."""
    lattice = random_bytes(seed, (cells[0] + 1, cells[1] + 1)).astype(np.float32)
    lattice = (lattice - 127.5) * (strength / 127.5)
    for axis in (0, 1):
        at = np.arange(shape[axis], dtype=np.float32) * (cells[axis] / shape[axis])
        before = at.astype(np.int64)
        share = at - before.astype(np.float32)
        share = share * share * (3.0 - 2.0 * share)
        share = share[:, None] if axis == 0 else share[None, :]
        first, second = lattice.take(before, axis), lattice.take(before + 1, axis)
        lattice = first + share * (second - first)
    return lattice


def enlarge(gray: Float32Array, side: int) -> Float32Array:
    """Enlarge ``gray``, float32 [n, n], to [side, side] by Catmull-Rom interpolation (Keys, 1981, a = -0.5)."""
    result = gray
    for axis in (0, 1):
        length = gray.shape[axis]
        at = (np.arange(side, dtype=np.float32) + 0.5) * (length / side) - 0.5
        floor = np.floor(at)
        t = at - floor
        weights = (
            ((2.0 - t) * t - 1.0) * t / 2.0,
            ((3.0 * t - 5.0) * t * t + 2.0) / 2.0,
            ((4.0 - 3.0 * t) * t + 1.0) * t / 2.0,
            (t - 1.0) * t * t / 2.0,
        )
        total = np.zeros((), dtype=np.float32)
        for offset, weight in zip((-1, 0, 1, 2), weights, strict=True):
            taps = np.clip(floor.astype(np.int64) + offset, 0, length - 1)
            total = total + result.take(taps, axis) * (weight[:, None] if axis == 0 else weight[None, :])
        result = total
    return np.minimum(np.maximum(result, 0.0), 255.0)


def feathered(shape: tuple[int, int], width: float) -> Float32Array:
    """Return opacity, float32 of ``shape``: 1 inside, falling to 0 at the border over ``width`` pixels."""
    rows, columns = (_from_border(length, width) for length in shape)
    return rows[:, None] * columns[None, :]


def _from_border(length: int, width: float) -> Float32Array:
    at = np.arange(length, dtype=np.float32) + 0.5
    share: Float32Array = np.minimum(np.minimum(at, length - at) / width, 1.0)
    return share * share * (3.0 - 2.0 * share)


@dataclass(frozen=True, slots=True)
class Placement:
    """The place of a picture: ``x``, ``y`` of its anchor in pixels, its ``scale`` and rotation.

    ``half_tilt`` is the tangent of half the angle, because sine and cosine follow from it by division alone.
    """

    x: float
    y: float
    scale: float
    half_tilt: float


def paint(
    canvas: Float32Array, picture: Float32Array, opacity: Float32Array, anchor: tuple[float, float], place: Placement
) -> None:
    """Paint ``picture`` (float32 [h, w], ``opacity`` 0..1 of the same shape) on ``canvas``, float32 [H, W], in place.

    ``anchor`` is the point of the picture (x, y in its pixels) that is put at ``place``. Interpolation is bilinear.
    """
    t = place.half_tilt
    cosine, sine = (1.0 - t * t) / (1.0 + t * t), 2.0 * t / (1.0 + t * t)
    area = _covered(canvas, picture, anchor, place, abs(sine))
    across = np.arange(area.x, area.x + area.width, dtype=np.float32)[None, :] + (0.5 - place.x)
    down = np.arange(area.y, area.y + area.height, dtype=np.float32)[:, None] + (0.5 - place.y)
    x = (across * cosine + down * sine) / place.scale + (anchor[0] - 0.5)
    y = (down * cosine - across * sine) / place.scale + (anchor[1] - 0.5)
    height, width = picture.shape
    outside = (x < 0) | (y < 0) | (x > width - 1) | (y > height - 1)
    x, y = np.minimum(np.maximum(x, 0.0), width - 1.001), np.minimum(np.maximum(y, 0.0), height - 1.001)
    left, top = x.astype(np.int64), y.astype(np.int64)
    x, y = x - left.astype(np.float32), y - top.astype(np.float32)
    start = top * width + left
    share = _bilinear(opacity, start, x, y)
    share[outside] = 0.0
    patch = canvas[area.y : area.y + area.height, area.x : area.x + area.width]
    patch += share * (_bilinear(picture, start, x, y) - patch)


def _covered(
    canvas: Float32Array, picture: Float32Array, anchor: tuple[float, float], place: Placement, sine: float
) -> Box:
    """Return a box inside the canvas that contains the rotated picture."""
    (height, width), margin = picture.shape, 2.0 + sine * max(picture.shape) * place.scale
    left, top = place.x - anchor[0] * place.scale - margin, place.y - anchor[1] * place.scale - margin
    reach_x, reach_y = width * place.scale + 2 * margin, height * place.scale + 2 * margin
    box = Box(math.floor(left), math.floor(top), math.ceil(reach_x) + 1, math.ceil(reach_y) + 1)
    return box.clipped(canvas.shape[1], canvas.shape[0])


def _bilinear(picture: Float32Array, start: npt.NDArray[np.int64], x: Float32Array, y: Float32Array) -> Float32Array:
    flat, width = picture.ravel(), picture.shape[1]
    above: Float32Array = flat[start] + x * (flat[start + 1] - flat[start])
    below: Float32Array = flat[start + width] + x * (flat[start + width + 1] - flat[start + width])
    return above + y * (below - above)
