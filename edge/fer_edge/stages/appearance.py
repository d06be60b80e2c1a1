"""Where a face that was just found went, told by its looks: what the cascade needs milliseconds for, in a tenth.

When a track is found its face is kept as a small picture. In the next frames that picture is looked for around the
place where the face should be: while it is there, the cascade need not search; a face that looks otherwise is for the
cascade. The correlation is normalized (zero-mean NCC), so light that changes is no change of looks.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.images.resample import resample
from fer_edge.types import Box, Float32Array, Track, UInt8Array

SIDE = 16
"""Pixels across the kept picture. Sums over it stay below 2^24, so that float32 holds them exactly: the same numbers
on every machine, in whatever order they are added."""
CORE = 0.9
"""Side of the kept picture in face widths: all of it is face."""
REACH = 0.25
"""Face widths by which a face may be off the place where it should be."""
LEAST_LIKENESS = 0.75
"""Correlation from which it is the same face. On moving faces of FER2013 the same picture has 0.85 and more in 98 of
100 cases, up to half a second later; another person's face in its place has 0.65 at most, and a wall 0.6."""
FAINT_LIKENESS, SURE_LIKENESS = 0.55, 0.88
"""Correlations between which it is tried whether the face came nearer or went away."""
ZOOM = 1.12
"""Factor by which it may have grown or shrunk."""
LEAST_CONTRAST = 3.0
"""Standard deviation, grey levels, below which nothing is to be seen: the light is out."""
CROSSING = 0.3
"""Intersection over union from which two faces are too near each other to be told apart by so little."""
_SAMPLES = 4
"""Pixels of the frame along each pixel of the kept picture that are averaged; more of a large face tell no more."""


class AppearanceFollower:
    """Keeps how the faces of one source's tracks looked when they were last found."""

    def __init__(self) -> None:
        self._looks: dict[int, Look] = {}

    def find(self, gray: UInt8Array, tracks: Sequence[Track]) -> dict[int, Box]:
        """Of the confirmed ``tracks`` (with predicted boxes) those that look as before, and where in ``gray``, by id.

        ``gray`` is uint8 [H, W]. Faces that cross are left out.
        """
        found = {
            track.track_id: place
            for track in tracks
            if (look := self._looks.get(track.track_id)) is not None
            and track.confirmed
            and (place := _find(gray, track.box, look)) is not None
        }
        crossing = {
            track_id
            for (one, box), (other, other_box) in combinations(found.items(), 2)
            if box.iou(other_box) >= CROSSING
            for track_id in (one, other)
        }
        return {track_id: place for track_id, place in found.items() if track_id not in crossing}

    def learn(self, gray: UInt8Array, tracks: Sequence[Track]) -> None:
        """Keep the looks of those of ``tracks`` that were found in ``gray``, and forget who is gone."""
        fresh = {
            track.track_id: look
            for track in tracks
            if track.found and track.face is not None and (look := _look(gray, track.face.box)) is not None
        }
        known = self._looks | fresh
        self._looks = {track.track_id: known[track.track_id] for track in tracks if track.track_id in known}


def _look(gray: UInt8Array, box: Box) -> Look | None:
    """The middle of the face in ``box``; None where it is not wholly in the picture."""
    core = box.grown(CORE)
    if core.area == 0 or core.clipped(gray.shape[1], gray.shape[0]) != core:
        return None
    return Look(_reduced(gray, core, SIDE, SIDE))


def _find(gray: UInt8Array, box: Box, look: Look) -> Box | None:
    """Where around ``box`` the ``look`` is; None where nothing looks like it."""
    likeness, place = _best_place(gray, box, look)
    if FAINT_LIKENESS <= likeness < SURE_LIKENESS:
        for size in (1 / ZOOM, ZOOM):
            other_likeness, other = _best_place(gray, box.grown(size), look)
            if other_likeness > likeness:
                likeness, place = other_likeness, other
    return place if likeness >= LEAST_LIKENESS else None


def _best_place(gray: UInt8Array, box: Box, look: Look) -> tuple[float, Box]:
    """The place of a face of ``box``'s size around it that is most like the ``look``, and how much it is."""
    window = box.grown(CORE + 2 * REACH).clipped(gray.shape[1], gray.shape[0])
    height = round(window.height * SIDE / (CORE * max(1, box.height)))
    width = round(window.width * SIDE / (CORE * max(1, box.width)))
    if min(height, width) < SIDE:
        return -1.0, box
    likeness = correlate(_reduced(gray, window, height, width), look)
    row, column = divmod(int(likeness.argmax()), likeness.shape[1])
    x = window.x + (column + _offset(likeness[row], column) + SIDE / 2) * window.width / width
    y = window.y + (row + _offset(likeness[:, column], row) + SIDE / 2) * window.height / height
    place = Box(round(x - box.width / 2), round(y - box.height / 2), box.width, box.height)
    return float(likeness[row, column]), place


def _offset(line: Float32Array, peak: int) -> float:
    """How far the top of the parabola through ``peak`` and its neighbours lies from it, -0.5 to 0.5 places."""
    if not 0 < peak < len(line) - 1:
        return 0.0
    before, top, after = (float(line[index]) for index in (peak - 1, peak, peak + 1))
    curve = before - 2 * top + after
    return (before - after) / (2 * curve) if curve < 0 else 0.0


class Look:
    """A picture that is to be found again, and what every search for it needs: worked out once."""

    def __init__(self, picture: UInt8Array) -> None:
        """``picture`` is uint8 [H, W], at most 16 x 16 pixels."""
        self.picture = picture.astype(np.float32)
        self.total = float(picture.sum())
        # Like all sums here a whole number below 2^53.
        self.spread = picture.size * float(np.square(picture, dtype=np.int64).sum()) - self.total**2
        """Variance times the square of the number of pixels."""

    def in_rows_of(self, width: int) -> Float32Array:
        """The pixels in the order in which they lie in a picture of ``width`` columns, with 0 for those between."""
        rows, columns = self.picture.shape
        spaced = np.zeros((rows, width), np.float32)
        spaced[:, :columns] = self.picture
        return spaced.reshape(-1)[: (rows - 1) * width + columns]


def correlate(picture: UInt8Array, look: Look) -> Float32Array:
    """Normalized correlation, -1 to 1, of ``look`` with each part of ``picture`` of its size; 0 where either is flat.

    Flat is what has a standard deviation below ``LEAST_CONTRAST``. ``picture`` is uint8 [H, W].
    """
    (height, width), count = look.picture.shape, float(look.picture.size)
    places = picture.shape[0] - height + 1, picture.shape[1] - width + 1
    least = (LEAST_CONTRAST * count) ** 2
    if look.spread < least:
        return np.zeros(places, np.float32)
    sums, squares = cv2.integral2(picture, sdepth=cv2.CV_64F)
    total = _of_parts(sums, height, width)
    # A part of the picture is one stretch of its pixels, row after row, with others between: thus no copy is needed.
    pixels, kernel = picture.astype(np.float32), look.in_rows_of(picture.shape[1])
    parts = np.ndarray((*places, len(kernel)), np.float32, pixels, strides=(*pixels.strides, pixels.itemsize))
    products = np.einsum("ijk,k->ij", parts, kernel).astype(np.float64)
    spread = count * _of_parts(squares, height, width) - total**2
    common = count * products - total * look.total
    likeness = common / np.sqrt(np.maximum(spread, least) * look.spread)
    likeness[spread < least] = 0.0
    return np.asarray(likeness, dtype=np.float32)


def _of_parts(integral: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float64]:
    """The sums over all parts of ``height`` x ``width`` pixels, of an integral image [H + 1, W + 1]."""
    rows = integral[height:] - integral[:-height]
    return np.asarray(rows[:, width:] - rows[:, :-width])


def _reduced(gray: UInt8Array, box: Box, height: int, width: int) -> UInt8Array:
    """``box`` of ``gray``, resampled to [height, width]."""
    step = max(1, box.width // (width * _SAMPLES))
    patch = gray[box.y : box.y + box.height : step, box.x : box.x + box.width : step]
    return resample(patch, height, width)
