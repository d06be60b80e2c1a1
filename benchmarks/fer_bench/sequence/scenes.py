"""The sequences: faces that move, come and go on a drawn background, with the truth of every frame.

They are the same bytes on every machine, because they are drawn with ``pipeline.raster``. Places and sizes are
shares of the frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from fer_bench.pipeline.faces import FacePicture
from fer_bench.pipeline.raster import Placement, paint, random_shares, value_noise
from fer_bench.pipeline.scenes import FPS, background, developed, sensor_noise, sway
from fer_bench.sequence.cast import Segment
from fer_bench.sequence.clutter import CLUTTER
from fer_edge.types import Box, Float32Array, UInt8Array

_MOTION, _BACKGROUND, _NOISE, _CAST, _CLUTTER = 1, 2, 3, 4, 5
"""Last number of a seed: the purpose of the random numbers."""
_EXPOSURES = 4
"""Number of moments of an exposure that are painted and averaged for motion blur."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of sequence. Sizes are a face's Haar box divided by the frame's height, periods are in seconds."""

    name: str
    faces: int = 1
    smallest: float = 0.30
    largest: float = 0.40
    path: str = "lanes"
    """``lanes``: side by side, each in its own lane; ``across``: over the whole width, in opposite directions;
    ``away``: out of the picture on both sides."""
    period_s: float = 6.0
    """Period of the movement from side to side and back."""
    half_tilt: float = 0.035
    """Tangent of half the maximum tilt: 4 degrees."""
    light: float = 1.0
    noise: float = 3.0
    """Gray levels of sensor noise, different in each frame."""
    blurred: bool = False
    """Motion blur: the shutter is open from frame to frame."""
    post: bool = False
    """A post in front, half as wide as a face."""
    clutter: str = ""
    """Name of the wall's cover (``clutter.CLUTTER``); empty: none."""
    posters: int = 0
    """Number of ``faces`` that are photographs on the wall: the first ones, which neither move nor change."""


KINDS = (
    Kind("easy"),
    Kind("scaling", smallest=0.17, largest=0.62),
    Kind("rotating", half_tilt=0.105),  # 12 degrees
    Kind("crossing", faces=2, smallest=0.26, largest=0.34, path="across", period_s=9.0),
    Kind("leaving", path="away", period_s=10.0),
    Kind("half hidden", path="across", period_s=8.0, post=True),
    Kind("crowded", faces=6, smallest=0.20, largest=0.27),
    Kind("fast", path="across", period_s=2.4),
    Kind("dark", light=0.3, noise=4.0),
    Kind("noisy", noise=16.0),
    Kind("blurred", path="across", period_s=3.0, blurred=True),
    Kind("empty", faces=0),
    Kind("text", clutter="text"),
    Kind("foliage", clutter="foliage"),
    Kind("bricks", clutter="bricks"),
    Kind("checks", clutter="checks"),
    Kind("drawn faces", clutter="cartoons"),
    Kind("posters", faces=4, smallest=0.26, largest=0.32, path="across", posters=3),
)


@dataclass(frozen=True, slots=True)
class TrueFace:
    """Face ``number`` of a sequence: its Haar box, and the image and label that it shows.

    ``visible`` is the share, 0..1, of the box that is inside the frame and not covered.
    """

    number: int
    box: Box
    visible: float
    row: int
    label: str


@dataclass(frozen=True, slots=True, eq=False)
class SequenceFrame:
    """A picture, uint8 [H, W], and its faces, including those that are out of sight."""

    index: int
    gray: UInt8Array
    faces: tuple[TrueFace, ...]


class Players(Protocol):
    """The supply of faces; see ``cast.Cast``."""

    def part(self, seed: Sequence[int], frames: int) -> tuple[Segment, ...]:
        """Return the segments of one face over ``frames`` frames, without a gap."""
        ...

    def picture(self, row: int, label: str) -> FacePicture:
        """Return an image as a face to paint."""
        ...


class FaceSequence:
    """One sequence of ``frames`` frames at 15 per second. Frames can be drawn in any order."""

    def __init__(self, kind: Kind, size: tuple[int, int], frames: int, cast: Players, seed: Sequence[int]) -> None:
        """``size`` is (width, height) in pixels."""
        self.kind, self.frames = kind, frames
        self.width, self.height = size
        self.parts: tuple[tuple[Segment, ...], ...] = tuple(
            _still(cast.part((*seed, number, _CAST), frames), frames)
            if number < kind.posters
            else cast.part((*seed, number, _CAST), frames)
            for number in range(kind.faces)
        )
        """The segments of each face."""
        self._phases = [random_shares((*seed, number, _MOTION), 5) for number in range(kind.faces)]
        self._background = _wall((*seed, _BACKGROUND), self.width, self.height)
        if kind.clutter:
            CLUTTER[kind.clutter](self._background, (*seed, _CLUTTER))
        self._noise = sensor_noise((*seed, _NOISE), size, kind.noise)
        self._picture = lru_cache(maxsize=64)(cast.picture)
        for number in range(kind.posters):
            self._hang(number)

    def frame(self, index: int) -> SequenceFrame:
        """Return frame ``index``, counted from 0."""
        at = index / FPS
        picture = self._exposed(index, at)
        post = self._post()
        if post is not None:
            picture[:, post.x : post.x + post.width] = 60.0
        # The light drifts, as in a room with a window.
        picture *= self.kind.light * (0.9 + 0.2 * sway(at, 9.0, 0.0))
        return SequenceFrame(index, developed(picture, self._noise, index), self._truth(index, at, post))

    def _exposed(self, index: int, at: float) -> Float32Array:
        """Return background and faces, the last one in front; with motion blur, the mean of moments around ``at``."""
        moments = _EXPOSURES if self.kind.blurred else 1
        exposures = []
        for moment in range(moments):
            picture = self._background.copy()
            for number in range(self.kind.faces):
                face = self._shown(number, index)
                place, _ = self._place(number, face, at + (moment - (moments - 1) / 2) / (moments * FPS))
                paint(picture, self._lit(number, face.gray), face.opacity, face.centre, place)
            exposures.append(picture)
        return exposures[0] if moments == 1 else np.add.reduce(exposures) / np.float32(moments)

    def _truth(self, index: int, at: float, post: Box | None) -> tuple[TrueFace, ...]:
        boxes = [self._place(number, self._shown(number, index), at)[1] for number in range(self.kind.faces)]
        found = []
        for number, box in enumerate(boxes):
            before = boxes[number + 1 :] + ([post] if post else [])
            face = self._shown(number, index)
            visible = visible_share(box, (self.width, self.height), before)
            found.append(TrueFace(number, box, visible, face.number, face.label or ""))
        return tuple(found)

    def _shown(self, number: int, index: int) -> FacePicture:
        segment = next(segment for segment in self.parts[number] if segment.start <= index < segment.end)
        return self._picture(segment.row_at(index), segment.label)

    def _lit(self, number: int, gray: Float32Array) -> Float32Array:
        """Return ``gray`` with light from one side, which differs between faces."""
        slope = 0.5 * (self._phases[number][4] - 0.5)
        across = np.arange(gray.shape[1], dtype=np.float32) / np.float32(gray.shape[1]) - np.float32(0.5)
        return gray * (np.float32(1.0) + np.float32(slope) * across)

    def _place(self, number: int, face: FacePicture, at: float) -> tuple[Placement, Box]:
        """Return place and box of face ``number`` at ``at`` seconds."""
        kind, phases = self.kind, self._phases[number]
        if number < kind.posters:
            at = 0.0
        side = self.height * (kind.smallest + sway(at, 7.0, phases[0]) * (kind.largest - kind.smallest))
        half = side * face.reach / 2
        left, top, right, bottom = self._lane(number)
        if number < kind.posters:
            x, y = (number + 0.5) * self.width / kind.posters, 0.25 * self.height
        elif kind.path == "lanes":
            x = left + half + sway(at, kind.period_s, phases[1]) * max(0.0, right - left - 2 * half)
            y = top + half + sway(at, 5.0, phases[2]) * max(0.0, bottom - top - 2 * half)
        else:
            # The second face starts on the other side. The faces move at different heights, but overlap.
            share = sway(at, kind.period_s, phases[1] * 0.1 + number / 2)
            beyond = 1.6 * half if kind.path == "away" else -1.1 * half
            x = share * (self.width + 2 * beyond) - beyond
            y = self.height * (0.42 + 0.12 * number + 0.1 * sway(at, 5.0, phases[2]))
        place = Placement(x, y, side / face.side, kind.half_tilt * (2 * sway(at, 4.0, phases[3]) - 1))
        whole = round(side)
        return place, Box(round(x - side / 2), round(y - side / 2), whole, whole)

    def _hang(self, number: int) -> None:
        """Paint the white paper around photograph ``number``."""
        face = self._shown(number, 0)
        place, _ = self._place(number, face, 0.0)
        half = 0.55 * place.scale * face.gray.shape[1]
        rows = slice(max(0, round(place.y - half)), round(place.y + half))
        self._background[rows, max(0, round(place.x - half)) : round(place.x + half)] = 225.0

    def _lane(self, number: int) -> tuple[float, float, float, float]:
        """Return left, top, right and bottom of the part of the picture in which face ``number`` stays."""
        rows = 1 if self.kind.faces <= 3 else 2
        columns = -(-max(1, self.kind.faces) // rows)
        row, column = divmod(number, columns)
        width, height = self.width / columns, self.height / rows
        return column * width, row * height, (column + 1) * width, (row + 1) * height

    def _post(self) -> Box | None:
        if not self.kind.post:
            return None
        width = round(0.5 * self.kind.largest * self.height)
        return Box(round(0.5 * self.width - width / 2), 0, width, self.height)


def _still(part: tuple[Segment, ...], frames: int) -> tuple[Segment, ...]:
    """Return the first picture of ``part`` for all frames."""
    return (Segment(0, frames, part[0].label, part[0].rows[:1]),)


def _wall(seed: Sequence[int], width: int, height: int) -> Float32Array:
    """Return the background of ``pipeline.scenes`` with finer noise, down to 2.5 pixels.

    Natural images have about the same contrast in each octave (Field, 1987). The cascade rejects a smooth wall faster
    than a room. With finer noise, a full search takes about as long as on a photograph.
    """
    picture = background(seed, width, height)
    cells = 48
    while cells <= height / 2.5:
        picture += value_noise((*seed, 300, cells), (cells, cells * 4 // 3), (height, width), 9.0)
        cells *= 2
    return np.minimum(np.maximum(picture, 8.0), 247.0)


def visible_share(box: Box, size: tuple[int, int], before: Sequence[Box]) -> float:
    """Return the share, 0..1, of ``box`` inside a frame of ``size`` (width, height) and not covered by ``before``."""
    inside = box.clipped(*size)
    if not inside.area:
        return 0.0
    seen = np.ones((inside.height, inside.width), dtype=np.bool_)
    for other in before:
        left, top = max(0, other.x - inside.x), max(0, other.y - inside.y)
        right, bottom = max(0, other.x + other.width - inside.x), max(0, other.y + other.height - inside.y)
        seen[top:bottom, left:right] = False
    return float(seen.sum()) / box.area
