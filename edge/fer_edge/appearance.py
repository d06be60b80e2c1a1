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
from numpy.lib.stride_tricks import sliding_window_view

from fer_edge.crop import resample
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
        self._looks: dict[int, UInt8Array] = {}

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


def _look(gray: UInt8Array, box: Box) -> UInt8Array | None:
    """The middle of the face in ``box``, [SIDE, SIDE]; None where it is not wholly in the picture."""
    core = box.grown(CORE)
    if core.area == 0 or core.clipped(gray.shape[1], gray.shape[0]) != core:
        return None
    return _reduced(gray, core, SIDE, SIDE)


def _find(gray: UInt8Array, box: Box, look: UInt8Array) -> Box | None:
    """Where around ``box`` the ``look`` is; None where nothing looks like it."""
    likeness, place = _best_place(gray, box, look)
    if FAINT_LIKENESS <= likeness < SURE_LIKENESS:
        for size in (1 / ZOOM, ZOOM):
            other_likeness, other = _best_place(gray, box.grown(size), look)
            if other_likeness > likeness:
                likeness, place = other_likeness, other
    return place if likeness >= LEAST_LIKENESS else None


def _best_place(gray: UInt8Array, box: Box, look: UInt8Array) -> tuple[float, Box]:
    """The place of a face of ``box``'s size around it that is most like the ``look``, and how much it is."""
    window = box.grown(CORE + 2 * REACH).clipped(gray.shape[1], gray.shape[0])
    height = round(window.height * SIDE / (CORE * max(1, box.height)))
    width = round(window.width * SIDE / (CORE * max(1, box.width)))
    if min(height, width) < SIDE:
        return -1.0, box
    likeness = correlate(_reduced(gray, window, height, width), look)
    row, column = map(int, np.unravel_index(int(likeness.argmax()), likeness.shape))
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


def correlate(picture: UInt8Array, look: UInt8Array) -> Float32Array:
    """Normalized correlation, -1 to 1, of ``look`` with each part of ``picture`` of its size; 0 where either is flat.

    Flat is what has a standard deviation below ``LEAST_CONTRAST``. Both are uint8 [H, W]; ``look`` has at most 16 x 16
    pixels.
    """
    (height, width), count = look.shape, float(look.size)
    sums, squares = cv2.integral2(picture, sdepth=cv2.CV_64F)
    total, own_total = _of_parts(sums, height, width), float(look.sum())
    # Without a copy: the parts overlap, and together hold a hundred times the picture.
    parts = sliding_window_view(picture.astype(np.float32), look.shape)
    products = np.einsum("ijkl,kl->ij", parts, look.astype(np.float32)).astype(np.float64)
    # All of these are whole numbers below 2^53.
    own_spread = count * float(np.square(look, dtype=np.int64).sum()) - own_total**2
    spread = count * _of_parts(squares, height, width) - total**2
    least = (LEAST_CONTRAST * count) ** 2
    seen = (spread >= least) & (own_spread >= least)
    common = count * products - total * own_total
    likeness = np.divide(common, np.sqrt(spread * own_spread), out=np.zeros_like(common), where=seen)
    return np.asarray(likeness, dtype=np.float32)


def _of_parts(integral: npt.NDArray[Any], height: int, width: int) -> npt.NDArray[np.float64]:
    """The sums over all parts of ``height`` x ``width`` pixels, of an integral image [H + 1, W + 1]."""
    lower, upper = integral[height:], integral[:-height]
    return np.asarray(lower[:, width:] - lower[:, :-width] - upper[:, width:] + upper[:, :-width])


def _reduced(gray: UInt8Array, box: Box, height: int, width: int) -> UInt8Array:
    """``box`` of ``gray``, resampled to [height, width]."""
    step = max(1, box.width // (width * _SAMPLES))
    patch = gray[box.y : box.y + box.height : step, box.x : box.x + box.width : step]
    return resample(patch, height, width)
