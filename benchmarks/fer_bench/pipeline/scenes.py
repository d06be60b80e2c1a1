"""Scenes of moving faces before drawn backgrounds: the same bytes on every machine, and the truth about each face.

All places and sizes are shares of the frame, so that one scene at two sizes is the same picture, larger.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from fer_bench.pipeline.faces import FacePicture, FaceSupply
from fer_bench.pipeline.raster import Placement, noise_field, paint, random_bytes, random_shares, value_noise
from fer_edge.types import Box, Float32Array, UInt8Array

FPS = 15.0
"""Frames per second of the scenes' own time, which a schedule goes by; the demo's and a slow camera's rate."""
_SMALLEST, _LARGEST = 0.26, 0.42
"""Side of a face's box over the frame's height: 62 to 101 pixels of 240, 187 to 302 of 720."""
_NOISE_SIGMA = 3.0
"""Grey levels of sensor noise, fresh in each frame."""
_NOISE_MARGIN = 64
_BACKGROUND, _MOTION, _NOISE = 1, 2, 3
"""Last number of a seed: what the random numbers are for."""


@dataclass(frozen=True, slots=True)
class TrueFace:
    """A face that is in the picture: whose (one number is one person), its ``box`` as a Haar cascade would draw it, and
    its label if that is known.
    """

    number: int
    box: Box
    label: str | None


@dataclass(frozen=True, slots=True, eq=False)
class SceneFrame:
    """A picture, uint8 [H, W], and the faces in it."""

    gray: UInt8Array
    faces: tuple[TrueFace, ...]


@dataclass(frozen=True, slots=True)
class _Motion:
    """How a face moves: shares of a period at which each of its four cycles begins, and the lane it keeps to."""

    phases: tuple[float, ...]
    lane: tuple[float, float]
    """Left and right end, as shares of the frame's width."""


class Scene:
    """One scene: ``faces`` before a background, both chosen by ``seed`` (numbers of 0 or more)."""

    def __init__(self, size: tuple[int, int], faces: Sequence[FacePicture], seed: Sequence[int]) -> None:
        """``size`` is (width, height) in pixels, ``faces`` stand from left to right."""
        self.width, self.height = size
        self._faces = tuple(faces)
        self._motions = [
            _Motion(tuple(random_shares((*seed, lane, _MOTION), 4)), _lane(lane, len(faces)))
            for lane in range(len(faces))
        ]
        self._background = background((*seed, _BACKGROUND), self.width, self.height)
        self._noise = sensor_noise((*seed, _NOISE), size, _NOISE_SIGMA)

    def frame(self, index: int) -> SceneFrame:
        """The picture of frame ``index``, counted from 0."""
        picture = self._background.copy()
        truth = []
        for face, motion in zip(self._faces, self._motions, strict=True):
            place, box = self._place(face, motion, index / FPS)
            paint(picture, face.gray, face.opacity, face.centre, place)
            truth.append(TrueFace(face.number, box, face.label))
        return SceneFrame(developed(picture, self._noise, index), tuple(truth))

    def _place(self, face: FacePicture, motion: _Motion, at: float) -> tuple[Placement, Box]:
        """Where ``face`` is at ``at`` seconds; its box lies inside the frame, and its picture inside its lane."""
        lane_left, lane_right = motion.lane[0] * self.width, motion.lane[1] * self.width
        largest = min(_LARGEST * self.height, 0.95 * (lane_right - lane_left) / face.reach)
        smallest = min(_SMALLEST * self.height, largest)
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
    """The scene of a round, with ``count`` faces: those of the numbers from ``first`` on.

    The seed leaves the size out: all sizes show the same scene.
    """
    return Scene(size, [faces.face(number) for number in range(first, first + count)], (round_number, count))


def _lane(number: int, lanes: int) -> tuple[float, float]:
    """Side by side, so that faces never cover each other; a single one keeps to the middle, as it would in life."""
    return (0.1, 0.9) if lanes == 1 else (number / lanes, (number + 1) / lanes)


def sensor_noise(seed: Sequence[int], size: tuple[int, int], sigma: float) -> Float32Array:
    """Noise of ``sigma`` grey levels for ``developed``, larger than pictures of ``size`` (width, height)."""
    return noise_field(seed, (size[1] + _NOISE_MARGIN, size[0] + _NOISE_MARGIN), sigma)


def developed(picture: Float32Array, noise: Float32Array, index: int) -> UInt8Array:
    """``picture``, float32 [H, W], with the noise of frame ``index`` and as a camera gives it: uint8. It is used up."""
    # One field of noise, shifted by steps that share no factor with its margin: it looks fresh and costs nothing.
    top, left = (index * 29) % _NOISE_MARGIN, (index * 43 + 7) % _NOISE_MARGIN
    picture += noise[top : top + picture.shape[0], left : left + picture.shape[1]]
    return np.rint(np.minimum(np.maximum(picture, 0.0), 255.0)).astype(np.uint8)


def sway(at: float, period: float, phase: float) -> float:
    """0..1 and back in ``period`` seconds, slowing down at both ends; arithmetic without a sine, to be exact."""
    share = (at / period + phase) % 1.0
    rising = 2 * share if share < 0.5 else 2 - 2 * share
    return rising * rising * (3 - 2 * rising)


def background(seed: Sequence[int], width: int, height: int) -> Float32Array:
    """A wall with a gradient and blotches, and things before it with straight edges, float32 [height, width]."""
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
        # Half see-through, or the last thing drawn would hide all that is behind it.
        things += 0.5 * (30.0 + 200.0 * level - things)
        picture += value_noise((*seed, 200 + number), (3 << number // 2, 4 << number // 2), (height, width), 9.0)
    return np.minimum(np.maximum(picture, 8.0), 247.0)
