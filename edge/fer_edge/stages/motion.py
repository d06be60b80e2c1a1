"""Detect where the image changed, so that static parts of it need not be searched again.

The frame is reduced to cells large enough to average out sensor noise. Each cell is compared with its value at its own
last change, not with the previous frame, so that a slow change is detected as well. Both values are taken relative to
the brightness of the whole image, so that a change of light or exposure is not a change of the scene.
"""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.settings.pipeline import CASCADE_WINDOW, ScheduleSettings
from fer_edge.types import Box, Float32Array, SceneMotion, UInt8Array

CELLS_PER_FACE = 3
"""Cells across the smallest face that a search of the whole frame can find. With fewer, such a face could be missed."""
_MIN_BRIGHTNESS = 0.01
_MIN_CHANGED_CELLS = 3
"""Number of changed cells, of a cell and its eight neighbours, that make a change significant."""
_ROWS_PER_CELL = 4
"""Image rows that are averaged in each cell. Averaging all rows of a large frame would cost more than the search for a
face."""


class MotionDetector:
    """Record when each part of one source's image last changed. Memory use is constant."""

    def __init__(self, settings: ScheduleSettings | None = None) -> None:
        self._settings = settings or ScheduleSettings()
        self._reference: Float32Array | None = None
        # Reused arrays [rows, columns].
        self._cells: UInt8Array = np.empty((0, 0), np.uint8)
        self._small: Float32Array = np.empty((0, 0), np.float32)
        self._difference = self._small
        self._motion = SceneMotion((0, 0), np.empty((0, 0)), np.empty((0, 0)))

    def update(self, gray: UInt8Array, now: float, known: Iterable[Box] = ()) -> SceneMotion:
        """Compare a frame with the ones before it.

        Args:
            gray: The frame, uint8 [H, W].
            now: Its time in seconds, never less than in the previous call.
            known: Areas of known faces: a change inside them is expected, hence not an unexplained one.

        Returns:
            The times of the last changes. Valid until the next call, which reuses its arrays.
        """
        size = gray.shape[1], gray.shape[0]
        small = self._reduced(gray)
        if self._reference is None or self._motion.frame_size != size:
            self._reference = small.copy()
            self._motion = SceneMotion(size, np.full(small.shape, now), np.full(small.shape, now))
            return self._motion
        # Brightness relative to the reference. The median is not affected by motion in less than half of the image.
        brightness = max(_MIN_BRIGHTNESS, _median(small[::2, ::2] / self._reference[::2, ::2]))
        difference = np.multiply(self._reference, brightness, out=self._difference)
        difference -= small
        changed = np.abs(difference, out=difference) > self._settings.motion_threshold
        if changed.any():
            self._motion.changed_at[changed] = now
            # A face covers several cells. A single changed cell is noise and keeps its reference.
            changed &= _has_changed_neighbours(changed)
            self._reference[changed] = small[changed] / brightness
            for box in known:
                changed[self._motion.cells(box)] = False
            self._motion.unexplained_at[changed & _has_changed_neighbours(changed)] = now
        return self._motion

    def mark(self, box: Box, now: float) -> None:
        """Record an unexplained change in ``box`` at ``now``: the track of a face there has ended."""
        self._motion.unexplained_at[self._motion.cells(box)] = now

    def _reduced(self, gray: UInt8Array) -> Float32Array:
        height, width = gray.shape
        columns = max(1, min(width, CELLS_PER_FACE * self._settings.full_search_width_px // CASCADE_WINDOW))
        rows = max(1, min(height, round(columns * height / width)))
        step = max(1, height // (rows * _ROWS_PER_CELL))
        if self._cells.shape != (rows, columns):
            self._cells = np.empty((rows, columns), np.uint8)
            self._small, self._difference = np.empty((2, rows, columns), np.float32)
        cv2.resize(gray[::step], (columns, rows), dst=self._cells, interpolation=cv2.INTER_AREA)
        return np.maximum(self._cells, 1, out=self._small)  # at least 1, since it is divided by


def _median(values: Float32Array) -> float:
    """Return the median as ``numpy.median`` does, whose first call imports numpy.ma: 10 MiB, and 50 ms on x86-64."""
    upper = values.size // 2
    lower = upper - 1 + values.size % 2
    parted = np.partition(values, (lower, upper), axis=None)
    return float((parted[lower] + parted[upper]) / 2)


def _has_changed_neighbours(changed: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return where at least ``_MIN_CHANGED_CELLS`` of a cell and its eight neighbours changed."""
    count = cv2.boxFilter(changed.view(np.uint8), -1, (3, 3), normalize=False, borderType=cv2.BORDER_CONSTANT)
    return np.asarray(count >= _MIN_CHANGED_CELLS)
