"""Faces to tracks: globally best association with constant-velocity motion, and smoothed probabilities.

All times are seconds on a clock that does not go back. Frames may come at any rate, and irregularly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fer_edge.config import TrackingSettings
from fer_edge.types import Box, EmotionProbabilities, Face, Float32Array, Track

MIN_IOU = 0.15
"""Least overlap of a predicted and a found box that joins them by itself."""
REACH = 0.8
"""Where they overlap less: least distance of the centres, in mean box widths, that no longer joins them."""
MAX_SIZE_RATIO = 1.8
"""Boxes whose widths differ by more than this are not joined by distance."""
POSITION_GAIN = 0.7
"""Share of the newly found box in a track's box; a cascade's boxes jitter by some pixels from frame to frame."""
VELOCITY_TIME_S = 0.25
"""Time constant of the velocity's smoothing, seconds."""
COAST_S = 0.4
"""Longest time for which the velocity moves an unseen face on; after that the box stands still."""


class Tracker:
    """Keeps the tracks of one source. Track ids count up from 1 and are never used again."""

    def __init__(self, settings: TrackingSettings | None = None) -> None:
        self._settings = settings or TrackingSettings()
        self._followed: list[_Followed] = []
        self._next_id = 1

    def predicted(self, now: float) -> tuple[Track, ...]:
        """The tracks with their boxes moved to where they should be at ``now``."""
        return tuple(followed.track(now, self._settings.confirm_hits) for followed in self._followed)

    def update(
        self, now: float, faces: Sequence[Face], probabilities: Sequence[EmotionProbabilities]
    ) -> tuple[Track, ...]:
        """Take in the ``faces`` found at ``now``, with the probabilities of each; returns the tracks that live on.

        A track ends when it was looked for and not found, and was last seen longer ago than ``left_after_s``; a
        gap between frames alone ends none, so that low frame rates work.
        """
        boxes = [followed.box_at(now) for followed in self._followed]
        pairs = associate(boxes, [face.box for face in faces])
        for row, column in pairs:
            self._followed[row].found(now, faces[column].box, probabilities[column].values, self._settings)
        matched_rows = {row for row, _ in pairs}
        matched_columns = {column for _, column in pairs}
        for row, followed in enumerate(self._followed):
            if row not in matched_rows:
                followed.misses += 1
        self._followed = [followed for followed in self._followed if not self._ended(followed, now)]
        for column, face in enumerate(faces):
            if column not in matched_columns:
                self._followed.append(_Followed(self._next_id, face.box, probabilities[column].values, now))
                self._next_id += 1
        return self.predicted(now)

    def clear(self) -> None:
        """Forget all tracks, as when a source ends; ids go on counting."""
        self._followed.clear()

    def _ended(self, followed: _Followed, now: float) -> bool:
        if followed.misses == 0:
            return False
        if followed.hits < self._settings.confirm_hits and followed.misses >= followed.hits:
            return True  # not found again as often as it was found: a chance hit of the detector
        return now - followed.last_seen > self._settings.left_after_s


class _Followed:
    """The state of one track: centre and size with their velocity, and the running average."""

    def __init__(self, track_id: int, box: Box, values: Float32Array, now: float) -> None:
        self.track_id = track_id
        self.hits, self.misses = 1, 0
        self.last_seen = now
        self._state = _centre_and_size(box)
        self._velocity = np.zeros(4)
        self._average = np.asarray(values, dtype=np.float64)
        self._weight = 1.0

    def box_at(self, now: float) -> Box:
        """The predicted box."""
        elapsed = min(max(0.0, now - self.last_seen), COAST_S)
        x, y, width, height = self._state + self._velocity * elapsed
        width, height = max(1.0, width), max(1.0, height)
        return Box(round(x - width / 2), round(y - height / 2), round(width), round(height))

    def found(self, now: float, box: Box, values: Float32Array, settings: TrackingSettings) -> None:
        """Take in a box and its probabilities, found at ``now``."""
        elapsed = max(0.0, now - self.last_seen)
        seen = _centre_and_size(box)
        if elapsed > 0:
            measured = (seen - self._state) / elapsed
            # The size does not extrapolate: its jitter would make boxes breathe.
            measured[2:] = 0.0
            self._velocity += (1 - math.exp(-elapsed / VELOCITY_TIME_S)) * (measured - self._velocity)
        expected = self._state + self._velocity * min(elapsed, COAST_S)
        self._state = expected + POSITION_GAIN * (seen - expected)
        # An exponentially weighted mean: each sample counts 1 when new and fades with the time constant, so the
        # first samples average evenly and the rate of frames does not matter.
        fading = math.exp(-elapsed / settings.smoothing_s) if settings.smoothing_s > 0 else 0.0
        self._weight = self._weight * fading + 1.0
        self._average += (np.asarray(values, dtype=np.float64) - self._average) / self._weight
        self.hits += 1
        self.misses = 0
        self.last_seen = now

    def track(self, now: float, confirm_hits: int) -> Track:
        """The value the other stages see."""
        smoothed = EmotionProbabilities(self._average.astype(np.float32))
        return Track(self.track_id, self.box_at(now), smoothed, self.last_seen, self.hits >= confirm_hits)


def associate(tracks: Sequence[Box], faces: Sequence[Box]) -> list[tuple[int, int]]:
    """Pairs (track, face) with the greatest total likeness; each is in one pair at most, unlikely pairs in none."""
    if not tracks or not faces:
        return []
    matrix = np.array([[likeness(track, face) for face in faces] for track in tracks])
    return [(row, column) for row, column in _best_assignment(matrix) if matrix[row, column] > 0]


def likeness(track: Box, face: Box) -> float:
    """How likely a track's predicted box and a found one are the same face: 0 for never, else up to 2.

    Up to 1 they are only near each other; from 1 they overlap, so that an overlap always comes first.
    """
    overlap = track.iou(face)
    if overlap >= MIN_IOU:
        return 1.0 + overlap
    width = (track.width + face.width) / 2
    smaller, larger = sorted((track.width, face.width))
    if smaller <= 0 or larger > MAX_SIZE_RATIO * smaller:
        return 0.0
    return max(0.0, 1.0 - math.dist(track.centre, face.centre) / (REACH * width))


def _best_assignment(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[tuple[int, int]]:
    """Pairs (row, column) of the greatest sum: the Hungarian method with potentials (Kuhn, 1955; Munkres, 1957).

    Rows enter one at a time; each time the cheapest chain of changes makes room for the new one.
    """
    transposed = matrix.shape[0] > matrix.shape[1]
    cost = -(matrix.T if transposed else matrix)
    rows, columns = cost.shape
    row_potential, column_potential = np.zeros(rows + 1), np.zeros(columns + 1)
    # Column 0 is a stand-in that holds the row being entered; rows and columns count from 1.
    row_of = np.zeros(columns + 1, dtype=int)
    for row in range(1, rows + 1):
        row_of[0], column = row, 0
        slack, came_from = np.full(columns + 1, np.inf), np.zeros(columns + 1, dtype=int)
        visited = np.zeros(columns + 1, dtype=bool)
        while row_of[column] != 0:
            visited[column] = True
            here = row_of[column]
            reduced = cost[here - 1] - row_potential[here] - column_potential[1:]
            better = ~visited[1:] & (reduced < slack[1:])
            slack[1:][better], came_from[1:][better] = reduced[better], column
            step_to = int(np.argmin(np.where(visited[1:], np.inf, slack[1:]))) + 1
            step = slack[step_to]
            row_potential[row_of[visited]] += step
            column_potential[visited] -= step
            slack[~visited] -= step
            column = step_to
        while column != 0:
            row_of[column], column = row_of[came_from[column]], int(came_from[column])
    pairs = [(int(row_of[column]) - 1, column - 1) for column in range(1, columns + 1) if row_of[column]]
    return sorted((column, row) if transposed else (row, column) for row, column in pairs)


def _centre_and_size(box: Box) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    return np.array([*box.centre, box.width, box.height], dtype=np.float64)
