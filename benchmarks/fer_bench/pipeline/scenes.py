"""Scenes of moving faces on drawn backgrounds: the same bytes on every machine, with the truth about each face.

All places and sizes are shares of the frame, so that a scene is the same picture in every size.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_bench.pipeline.faces import FacePicture, FaceSupply
from fer_bench.pipeline.raster import Placement, noise_field, paint, random_bytes, random_shares, value_noise
from fer_edge.types import Box, Float32Array, UInt8Array

FPS = 15.0
"""Frames per second of the scenes' own time, which the schedule uses; as in the demo and for a slow camera."""
_MIN_SIDE, _MAX_SIDE = 0.26, 0.42
"""Side of a face's box divided by the frame's height: 62 to 101 pixels of 240, 187 to 302 of 720."""
_NOISE_SIGMA = 3.0
"""Gray levels of sensor noise, different in each frame."""
_NOISE_MARGIN = 64
_BACKGROUND, _MOTION, _NOISE = 1, 2, 3
"""Last number of a seed: the purpose of the random numbers."""


@dataclass(frozen=True, slots=True)
class TrueFace:
    """A face in the picture: the person's number, the ``box`` that a Haar cascade would report, and the label if it is
    known.
    """

    number: int
    box: Box
    label: str | None


@dataclass(frozen=True, slots=True, eq=False)
class SceneFrame:
    """A picture, uint8 [H, W], and its faces."""

    gray: UInt8Array
    faces: tuple[TrueFace, ...]


@dataclass(frozen=True, slots=True)
class _Motion:
    """The motion of a face: the phases of its four cycles, and its lane."""

    phases: tuple[float, ...]
    lane: tuple[float, float]
    """Left and right end, as shares of the frame's width."""


class Scene:
    """One scene: ``faces`` on a background, whose motion and look follow from ``seed`` (numbers of 0 or more)."""

    def __init__(self, size: tuple[int, int], faces: Sequence[FacePicture], seed: Sequence[int]) -> None:
        """``size`` is (width, height) in pixels; ``faces`` are ordered from left to right."""
        self.width, self.height = size
        self._faces = tuple(faces)
        self._motions = [
            _Motion(tuple(random_shares((*seed, lane, _MOTION), 4)), _lane(lane, len(faces)))
            for lane in range(len(faces))
        ]
        self._background = background((*seed, _BACKGROUND), self.width, self.height)
        self._noise = sensor_noise((*seed, _NOISE), size, _NOISE_SIGMA)

    def frame(self, index: int) -> SceneFrame:
        """Return frame ``index``, counted from 0."""
        picture = self._background.copy()
        truth = []
        for face, motion in zip(self._faces, self._motions, strict=True):
            place, box = self._place(face, motion, index / FPS)
            paint(picture, face.gray, face.opacity, face.centre, place)
            truth.append(TrueFace(face.number, box, face.label))
        return SceneFrame(developed(picture, self._noise, index), tuple(truth))

    def _place(self, face: FacePicture, motion: _Motion, at: float) -> tuple[Placement, Box]:
        """Return the place of ``face`` at ``at`` seconds; its box is inside the frame, its picture inside its lane."""
        lane_left, lane_right = motion.lane[0] * self.width, motion.lane[1] * self.width
        largest = min(_MAX_SIDE * self.height, 0.95 * (lane_right - lane_left) / face.reach)
        smallest = min(_MIN_SIDE * self.height, largest)
        phases = motion.phases
        side = smallest + sway(at, 7.0, phases[0]) * (largest - smallest)
        room_x = lane_right - lane_left - side * face.reach
        x = lane_left + side * face.reach / 2 + sway(at, 6.0, phases[1]) * room_x
        room_y = self.height - 1.2 * side
        y = 0.6 * side + (0.2 + 0.6 * sway(at, 5.0, phases[2])) * room_y
        # 0.035 is the tangent of 2 degrees: a head tilts by up to 4 degrees to either side.
        place = Placement(x, y, side / face.side, 0.035 * (2 * sway(at, 4.0, phases[3]) - 1))
        whole = round(side)
        return place, Box(round(x - side / 2), round(y - side / 2), whole, whole)


def make_scene(size: tuple[int, int], count: int, round_number: int, faces: FaceSupply, first: int) -> Scene:
    """Return the scene of a round with ``count`` faces, numbered from ``first``.

    The seed does not contain the size, so all sizes show the same scene.
    """
    return Scene(size, [faces.face(number) for number in range(first, first + count)], (round_number, count))


def _lane(number: int, lanes: int) -> tuple[float, float]:
    """Return left and right end of a lane. Lanes do not overlap, so faces do not cover each other."""
    return (0.1, 0.9) if lanes == 1 else (number / lanes, (number + 1) / lanes)


def sensor_noise(seed: Sequence[int], size: tuple[int, int], sigma: float) -> Float32Array:
    """Return noise of ``sigma`` gray levels for ``developed``, larger than pictures of ``size`` (width, height)."""
    return noise_field(seed, (size[1] + _NOISE_MARGIN, size[0] + _NOISE_MARGIN), sigma)


def developed(picture: Float32Array, noise: Float32Array, index: int) -> UInt8Array:
    """Add the noise of frame ``index`` to ``picture``, float32 [H, W], which is changed; return it as uint8."""
    # One noise field, shifted by steps without a common factor with its margin: cheap, and different in each frame.
    top, left = (index * 29) % _NOISE_MARGIN, (index * 43 + 7) % _NOISE_MARGIN
    picture += noise[top : top + picture.shape[0], left : left + picture.shape[1]]
    return np.rint(np.minimum(np.maximum(picture, 0.0), 255.0)).astype(np.uint8)


def sway(at: float, period: float, phase: float) -> float:
    """Return a smooth oscillation between 0 and 1. It is computed without a sine, so that it is exact everywhere."""
    share = (at / period + phase) % 1.0
    rising = 2 * share if share < 0.5 else 2 - 2 * share
    return rising * rising * (3 - 2 * rising)


def background(seed: Sequence[int], width: int, height: int) -> Float32Array:
    """Return a wall with a gradient, noise, and rectangles on it, float32 [height, width]."""
    shares = random_shares(seed, 3)
    rows = np.arange(height, dtype=np.float32)[:, None] / height - 0.5
    columns = np.arange(width, dtype=np.float32)[None, :] / width - 0.5
    picture = 90.0 + 70.0 * shares[0] + rows * (80.0 * shares[1] - 40.0) + columns * (120.0 * shares[2] - 60.0)
    for number, values in enumerate(random_bytes((*seed, 100), (7, 5)).tolist()):
        left, top, right, bottom, level = (value / 255 for value in values)
        things = picture[
            round(top * height) : round((top + 0.05 + 0.35 * bottom) * height),
            round(left * width) : round((left + 0.04 + 0.25 * right) * width),
        ]
        # Half transparent, so that a rectangle does not hide the ones behind it.
        things += 0.5 * (30.0 + 200.0 * level - things)
        picture += value_noise((*seed, 200 + number), (3 << number // 2, 4 << number // 2), (height, width), 9.0)
    return np.minimum(np.maximum(picture, 8.0), 247.0)
