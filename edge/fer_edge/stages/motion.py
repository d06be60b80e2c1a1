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

from fer_edge.settings.runtime import CASCADE_WINDOW, ScheduleSettings
from fer_edge.types import Box, Float32Array, SceneMotion, UInt8Array

CELLS_PER_FACE = 3
"""Cells across the smallest face that a search of the whole frame can find: fewer would hide it."""
_DARKEST = 0.01
_LEAST_CELLS = 3
"""Changed cells, of a cell and its eight neighbours, that make news."""
_ROWS_PER_CELL = 4
"""Lines of the picture that are averaged in each cell; all of a large frame would cost more than a face's search."""


class _Buffers:
    """What each frame is worked out in, so that none needs memory of its own: uint8 and float32 [rows, columns]."""

    def __init__(self, rows: int, columns: int) -> None:
        self.cells = np.empty((rows, columns), np.uint8)
        self.small = np.empty((rows, columns), np.float32)
        self.difference = np.empty((rows, columns), np.float32)


class MotionGate:
    """Remembers, for one source, when each part of its picture last changed. Its size does not grow with time."""

    def __init__(self, settings: ScheduleSettings | None = None) -> None:
        self._settings = settings or ScheduleSettings()
        self._reference: Float32Array | None = None
        self._buffers = _Buffers(0, 0)
        self._motion = SceneMotion((0, 0), np.empty((0, 0)), np.empty((0, 0)))

    def update(self, gray: UInt8Array, now: float, watched: Iterable[Box] = ()) -> SceneMotion:
        """Take in the frame ``gray``, uint8 [H, W], of ``now`` (seconds that do not go back).

        ``watched`` are the boxes in which a change tells nothing new, since known faces are looked for there.
        """
        size = gray.shape[1], gray.shape[0]
        small = self._reduced(gray)
        if self._reference is None or self._motion.frame_size != size:
            self._reference = small.copy()
            self._motion = SceneMotion(size, np.full(small.shape, now), np.full(small.shape, now))
            return self._motion
        # How much brighter the picture is than the reference; the median does not mind what moves in less than half.
        brightness = max(_DARKEST, _median(small[::2, ::2] / self._reference[::2, ::2]))
        difference = np.multiply(self._reference, brightness, out=self._buffers.difference)
        difference -= small
        changed = np.abs(difference, out=difference) > self._settings.motion_threshold
        if changed.any():
            self._motion.changed_at[changed] = now
            # A face covers several cells; one alone is noise, and is compared with the same reference again.
            changed &= _crowded(changed)
            self._reference[changed] = small[changed] / brightness
            for box in watched:
                changed[self._motion.cells(box)] = False
            self._motion.news_at[changed & _crowded(changed)] = now
        return self._motion

    def note(self, box: Box, now: float) -> None:
        """There is news in ``box``: the face that was followed there is lost for good."""
        self._motion.news_at[self._motion.cells(box)] = now

    def _reduced(self, gray: UInt8Array) -> Float32Array:
        height, width = gray.shape
        columns = max(1, min(width, CELLS_PER_FACE * self._settings.full_search_width // CASCADE_WINDOW))
        rows = max(1, min(height, round(columns * height / width)))
        step = max(1, height // (rows * _ROWS_PER_CELL))
        if self._buffers.cells.shape != (rows, columns):
            self._buffers = _Buffers(rows, columns)
        buffers = self._buffers
        cv2.resize(gray[::step], (columns, rows), dst=buffers.cells, interpolation=cv2.INTER_AREA)
        return np.maximum(buffers.cells, 1, out=buffers.small)  # so that a ratio exists in black parts too


def _median(values: Float32Array) -> float:
    """What ``numpy.median`` gives, whose first call imports numpy.ma: 10 MiB, and 50 ms of an x86-64 core."""
    upper = values.size // 2
    lower = upper - 1 + values.size % 2
    parted = np.partition(values, (lower, upper), axis=None)
    return float((parted[lower] + parted[upper]) / 2)


def _crowded(changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Where at least ``_LEAST_CELLS`` of a cell and its neighbours changed."""
    around = cv2.boxFilter(changed.view(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(around >= _LEAST_CELLS)
