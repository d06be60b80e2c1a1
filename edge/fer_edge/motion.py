"""Where the picture changed: what stands still need not be searched again.

The picture is reduced so strongly that a sensor's noise averages out, and each cell is compared with what it was when
it last changed, not with the frame before: a face that appears slowly changes it as well. Both are taken relative to
the whole picture's brightness, so that light or an exposure that drifts is no motion.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.config import CASCADE_WINDOW, ScheduleSettings
from fer_edge.types import Box, Float32Array, SceneMotion, UInt8Array

CELLS_PER_FACE = 3
"""Cells across the smallest face that a search of the whole frame can find: fewer would hide it."""
_DARKEST = 0.01
_LEAST_CELLS = 3
"""Changed cells, of a cell and its eight neighbours, that make news."""
_ROWS_PER_CELL = 4
"""Lines of the picture that are averaged in each cell; all of a large frame would cost more than a face's search."""


class MotionGate:
    """Remembers, for one source, when each part of its picture last changed. Its size does not grow with time."""

    def __init__(self, settings: ScheduleSettings | None = None) -> None:
        self._settings = settings or ScheduleSettings()
        self._reference: Float32Array | None = None
        self._frame_size = (0, 0)
        self._motion = SceneMotion((0, 0), np.empty((0, 0)), np.empty((0, 0)))

    def update(self, gray: UInt8Array, now: float, watched: Iterable[Box] = ()) -> SceneMotion:
        """Take in the frame ``gray``, uint8 [H, W], of ``now`` (seconds that do not go back).

        ``watched`` are the boxes in which a change tells nothing new, since known faces are looked for there.
        """
        size = gray.shape[1], gray.shape[0]
        small = self._reduced(gray)
        if self._reference is None or self._motion.frame_size != size:
            self._reference = small
            self._motion = SceneMotion(size, np.full(small.shape, now), np.full(small.shape, now))
            return self._motion
        # How much brighter the picture is than the reference; the median does not mind what moves in less than half.
        brightness = max(_DARKEST, float(np.median(small[::2, ::2] / self._reference[::2, ::2])))
        changed = np.abs(small - brightness * self._reference) > self._settings.motion_threshold
        if changed.any():
            self._motion.changed_at[changed] = now
            # A face covers several cells; one alone is noise, and is compared with the same reference again.
            changed &= _crowded(changed)
            self._reference[changed] = small[changed] / brightness
            for box in watched:
                changed[self._motion.cells(box)] = False
            self._motion.news_at[changed & _crowded(changed)] = now
        return self._motion

    def _reduced(self, gray: UInt8Array) -> Float32Array:
        height, width = gray.shape
        columns = max(1, min(width, CELLS_PER_FACE * self._settings.full_search_width // CASCADE_WINDOW))
        rows = max(1, min(height, round(columns * height / width)))
        step = max(1, height // (rows * _ROWS_PER_CELL))
        small = cv2.resize(gray[::step], (columns, rows), interpolation=cv2.INTER_AREA)
        return np.maximum(small, 1, dtype=np.float32)  # so that a ratio exists in black parts too


def _crowded(changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where at least ``_LEAST_CELLS`` of a cell and its neighbours changed."""
    around = cv2.boxFilter(changed.view(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(around >= _LEAST_CELLS)
