"""Faces to tracks: globally best association with constant-velocity motion.

All times are seconds on a clock that does not go back. Frames may come at any rate, and irregularly.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import numpy as np

from fer_edge.settings.runtime import WIDEST_S, TrackingSettings
from fer_edge.types import Box, Face, Track

MIN_IOU = 0.15
"""Least overlap of a predicted and a found box that joins them by itself."""
REACH, WIDEST_REACH = 0.8, 1.4
"""Where they overlap less: least distance of the centres, in mean box widths, that no longer joins them. It grows with
the time for which a track's place was not known, over ``WIDEST_S``, as the region does in which it is looked for."""
MAX_SIZE_RATIO = 1.8
"""Boxes whose widths differ by more than this are not joined by distance."""
POSITION_GAIN = 0.7
"""Share of the newly found box in a track's box; a cascade's boxes jitter by some pixels from frame to frame."""
VELOCITY_TIME_S = 0.15
"""Time constant of the velocity's smoothing, seconds."""
STILL_PX = 1
"""Pixels by which a place found by appearance may differ from the last one and count as the same: with a box's rounding
the estimate of a face that stands still alternates between two pixels."""
MIN_ELAPSED_S = 1e-3
"""Two places closer in time say nothing of the velocity; their quotient may overflow."""
COAST_S = 0.6
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

    def place(self, now: float, places: Mapping[int, Box]) -> None:
        """Move the tracks whose looks were found again at ``now`` to their ``places``, by track id.

        That is no finding by the detector: what looks like the face that left keeps no track alive.
        """
        for followed in self._followed:
            followed.was_found, followed.matched = False, followed.track_id in places
            if followed.matched:
                place, last = places[followed.track_id], followed.box_at(-math.inf)
                if max(abs(place.x - last.x), abs(place.y - last.y)) <= STILL_PX and place.width == last.width:
                    followed.stay(now)
                else:
                    followed.move(now, place)

    def update(self, now: float, faces: Sequence[Face], looked_for: Collection[int] | None = None) -> tuple[Track, ...]:
        """Take in the ``faces`` found at ``now``; returns the tracks that live on.

        ``looked_for`` are the ids of the tracks that were searched (None: all): another one that is not found is no
        miss. A track ends when looks for it were in vain for longer than ``left_after_s``: neither a gap between frames
        nor a single miss after one ends it, so that low frame rates and faces that are seldom looked for work.
        """
        for followed in self._followed:
            followed.was_found = False
        boxes = [followed.box_at(now) for followed in self._followed]
        pairs = associate(boxes, [face.box for face in faces], [followed.reach(now) for followed in self._followed])
        for row, column in pairs:
            self._followed[row].found(now, faces[column])
        matched_rows = {row for row, _ in pairs}
        matched_columns = {column for _, column in pairs}
        for row, followed in enumerate(self._followed):
            if row not in matched_rows and (looked_for is None or followed.track_id in looked_for):
                followed.missed(now)
        self._followed = [followed for followed in self._followed if not self._ended(followed, now)]
        for column, face in enumerate(faces):
            if column not in matched_columns:
                self._followed.append(_Followed(self._next_id, face, now))
                self._next_id += 1
        return self.predicted(now)

    def judge(
        self, now: float, doubted: Collection[int], rejected: Collection[int], sure: Collection[int] = ()
    ) -> tuple[Track, ...]:
        """Hold back the ``doubted`` tracks, end the ``rejected`` ones, confirm the ``sure`` ones without further hits.

        Returns the tracks that remain.
        """
        self._followed = [followed for followed in self._followed if followed.track_id not in rejected]
        for followed in self._followed:
            followed.doubted = followed.track_id in doubted
            if followed.track_id in sure:
                followed.hits = max(followed.hits, self._settings.confirm_hits)
        return self.predicted(now)

    def clear(self) -> None:
        """Forget all tracks, as when a source ends; ids go on counting."""
        self._followed.clear()

    def _ended(self, followed: _Followed, now: float) -> bool:
        if followed.misses == 0:
            return False
        if followed.hits < self._settings.confirm_hits and followed.misses >= followed.hits:
            return True  # not found again as often as it was found: a chance hit of the detector
        return now - followed.missed_since > self._settings.left_after_s


class _Followed:
    """The state of one track: centre and size with their velocity."""

    def __init__(self, track_id: int, face: Face, now: float) -> None:
        self.track_id = track_id
        self._face = face
        self.hits, self.misses = 1, 0
        self.missed_since = now
        """When the first look since ``last_seen`` was in vain."""
        self.last_seen = self.last_looked = now
        self._placed_at = now
        """When it was last known where it is."""
        self.was_found, self.matched = True, False
        """By the detector, and by its looks, in the newest frame."""
        self.doubted = False
        """Whether it was not verified to be a face; see ``Tracker.judge``."""
        self._x, self._y = face.box.centre
        self._width, self._height = float(face.box.width), float(face.box.height)
        self._speed_x = self._speed_y = 0.0

    def box_at(self, now: float) -> Box:
        """The predicted box."""
        elapsed = min(max(0.0, now - self._placed_at), COAST_S)
        x, y = self._x + self._speed_x * elapsed, self._y + self._speed_y * elapsed
        width, height = max(1.0, self._width), max(1.0, self._height)
        return Box(round(x - width / 2), round(y - height / 2), round(width), round(height))

    def reach(self, now: float) -> float:
        """How far away it may be found, in box widths."""
        unknown = min(max(0.0, now - self._placed_at) / WIDEST_S, 1.0)
        return REACH + unknown * (WIDEST_REACH - REACH)

    def missed(self, now: float) -> None:
        """It was looked for at ``now`` and not found."""
        if self.misses == 0:
            self.missed_since = now
        self.misses += 1
        self.last_looked = now

    def found(self, now: float, face: Face) -> None:
        """Take in the face as found at ``now``."""
        self.move(now, face.box)
        self.hits += 1
        self.was_found = True
        self.misses = 0
        self.last_seen = self.last_looked = now
        self._face = face

    def stay(self, now: float) -> None:
        """It is at ``now`` where it was."""
        left = math.exp(-max(0.0, now - self._placed_at) / VELOCITY_TIME_S)
        self._speed_x, self._speed_y = left * self._speed_x, left * self._speed_y
        self._placed_at = now

    def move(self, now: float, box: Box) -> None:
        """It is in ``box`` at ``now``."""
        elapsed = max(0.0, now - self._placed_at)
        x, y = box.centre
        if elapsed >= MIN_ELAPSED_S:
            share = 1 - math.exp(-elapsed / VELOCITY_TIME_S)
            self._speed_x += share * ((x - self._x) / elapsed - self._speed_x)
            self._speed_y += share * ((y - self._y) / elapsed - self._speed_y)
        coasted = min(elapsed, COAST_S)
        expected = self._x + self._speed_x * coasted, self._y + self._speed_y * coasted
        self._x = expected[0] + POSITION_GAIN * (x - expected[0])
        self._y = expected[1] + POSITION_GAIN * (y - expected[1])
        # The size does not extrapolate: its jitter would make boxes breathe.
        self._width += POSITION_GAIN * (box.width - self._width)
        self._height += POSITION_GAIN * (box.height - self._height)
        self._placed_at = now

    def track(self, now: float, confirm_hits: int) -> Track:
        """The value the other stages see."""
        box = self.box_at(now)
        # By the flags, since two frames may bear one time; and by the time, since it may be asked about later.
        found, matched = self.was_found and now == self.last_seen, self.matched and now == self._placed_at
        face = self._face if found else Face(box, self._face.score)
        return Track(
            self.track_id,
            box,
            self.last_seen,
            confirmed=self.hits >= confirm_hits and not self.doubted,
            face=None if self.misses and not matched else face,
            last_looked=self.last_looked,
            last_placed=self._placed_at,
            found=found,
            matched=matched,
        )


def associate(
    tracks: Sequence[Box], faces: Sequence[Box], reaches: Sequence[float] | None = None
) -> list[tuple[int, int]]:
    """Pairs (track, face) with the greatest total likeness; each is in one pair at most, unlikely pairs in none.

    ``reaches`` holds for each track how far away its face may be, in box widths (None: ``REACH`` for all).
    """
    if not tracks or not faces:
        return []
    reaches = reaches or [REACH] * len(tracks)
    matrix = np.array(
        [[likeness(track, face, reach) for face in faces] for track, reach in zip(tracks, reaches, strict=True)]
    )
    return [(row, column) for row, column in _best_assignment(matrix) if matrix[row, column] > 0]


def likeness(track: Box, face: Box, reach: float = REACH) -> float:
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
    return max(0.0, 1.0 - math.dist(track.centre, face.centre) / (reach * width))


def _best_assignment(matrix: np.ndarray[tuple[int, int], np.dtype[np.float64]]) -> list[tuple[int, int]]:
    """Pairs (row, column) of the greatest sum: the Hungarian method with potentials (Kuhn, 1955; Munkres, 1957).

    Rows enter one at a time; each time the cheapest chain of changes makes room for the new one.
    """
    if min(matrix.shape) == 1:  # mostly: one face, and the best track of it, or the other way round
        return [divmod(int(matrix.argmax()), matrix.shape[1])]
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
