"""Multi-object tracking: greedy assignment of detections to constant-velocity tracks.

All times are seconds of a clock that never goes back. Frames may come at any rate and irregularly.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from fer_edge.settings.pipeline import MAX_REGION_GROWTH_S, TrackingSettings
from fer_edge.types import Box, Face, Track

MIN_IOU = 0.15
"""IoU of a predicted and a detected box from which they are associated by their overlap."""
MAX_DISTANCE, MAX_DISTANCE_UNKNOWN = 0.8, 1.4
"""Limit of the distance between the centres, in mean box widths, for boxes that overlap less. It grows from the first
to the second value within ``MAX_REGION_GROWTH_S`` of the last measured position, like the track's search region."""
MAX_SIZE_RATIO = 1.8
"""Ratio of the widths up to which boxes are associated by distance."""
POSITION_GAIN = 0.7
"""Weight of the new box in a track's box: a cascade's boxes jitter by a few pixels from frame to frame."""
VELOCITY_TIME_S = 0.15
"""Time constant in seconds with which the velocity is smoothed."""
MAX_STATIC_PX = 1
"""Pixels by which a position from template matching may differ from the last one and count as the same: since boxes are
rounded, the position of a static face alternates between two pixels."""
MIN_ELAPSED_S = 1e-3
"""Seconds between two positions below which no velocity is computed: the quotient may overflow."""
MAX_COAST_S = 0.6
"""Seconds for which an undetected track continues at its velocity; then its box stays in place."""


class Tracker:
    """The tracks of one source. Track ids count up from 1 and are never reused."""

    def __init__(self, settings: TrackingSettings | None = None) -> None:
        self._settings = settings or TrackingSettings()
        self._states: list[_TrackState] = []
        self._next_id = 1

    def predicted(self, now: float) -> tuple[Track, ...]:
        """Return the tracks with their boxes predicted for ``now``."""
        return tuple(state.track(now, self._settings.min_hits) for state in self._states)

    def relocate(self, now: float, boxes: Mapping[int, Box]) -> None:
        """Move the tracks that template matching found at ``now`` to their ``boxes``, by track id.

        This does not count as a detection: background that resembles a face must not keep its track alive.
        """
        for state in self._states:
            state.was_found, state.matched = False, state.track_id in boxes
            if state.matched:
                box, last = boxes[state.track_id], state.box_at(-math.inf)
                if max(abs(box.x - last.x), abs(box.y - last.y)) <= MAX_STATIC_PX and box.width == last.width:
                    state.stay(now)
                else:
                    state.move(now, box)

    def update(
        self, now: float, faces: Sequence[Face], searched_ids: Collection[int] | None = None
    ) -> tuple[Track, ...]:
        """Associate detections with the tracks.

        A track ends if searches for it have failed for longer than ``max_missed_s``. A gap between frames, or a single
        miss after one, does not end it, so low frame rates and tracks that are rarely searched are safe.

        Args:
            now: Time of the frame, seconds.
            faces: Faces detected in the frame.
            searched_ids: Ids of the tracks that were searched in the frame (None: all). Other tracks without a
                detection do not count as missed.

        Returns:
            The remaining and the new tracks.
        """
        for state in self._states:
            state.was_found = False
        boxes = [state.box_at(now) for state in self._states]
        limits = [state.max_distance(now) for state in self._states]
        pairs = dict(associate(boxes, [face.box for face in faces], limits))
        for row, state in enumerate(self._states):
            if row in pairs:
                state.found(now, faces[pairs[row]])
            elif searched_ids is None or state.track_id in searched_ids:
                state.missed(now)
        self._states = [state for state in self._states if not self._ended(state, now)]
        for column, face in enumerate(faces):
            if column not in pairs.values():
                self._states.append(_TrackState(self._next_id, face, now))
                self._next_id += 1
        return self.predicted(now)

    def judge(
        self, now: float, doubted: Collection[int], rejected: Collection[int], sure: Collection[int]
    ) -> tuple[Track, ...]:
        """Apply the verdict of the face verification.

        Args:
            now: Time of the frame, seconds.
            doubted: Ids of the tracks that are not reported for now.
            rejected: Ids of the tracks that end.
            sure: Ids of the tracks that need no further detections to be confirmed.

        Returns:
            The remaining tracks.
        """
        self._states = [state for state in self._states if state.track_id not in rejected]
        for state in self._states:
            state.doubted = state.track_id in doubted
            if state.track_id in sure:
                state.hits = max(state.hits, self._settings.min_hits)
        return self.predicted(now)

    def clear(self) -> None:
        """End all tracks, as at the end of a source. Ids continue to count up."""
        self._states.clear()

    def _ended(self, state: _TrackState, now: float) -> bool:
        if state.misses == 0:
            return False
        if state.hits < self._settings.min_hits and state.misses >= state.hits:
            return True  # missed as often as it was found: a false detection
        return now - state.missed_since > self._settings.max_missed_s


class _TrackState:
    """State of one track: centre, size, and velocity of the centre."""

    def __init__(self, track_id: int, face: Face, now: float) -> None:
        self.track_id = track_id
        self._face = face
        self.hits, self.misses = 1, 0
        self.missed_since = now
        """Time of the first failed search since ``last_seen``."""
        self.last_seen = self.last_searched = now
        self._located_at = now
        """When the position was last measured."""
        self.was_found, self.matched = True, False
        """In the newest frame, by the detector and by template matching."""
        self.doubted = False
        """Whether it is not yet verified to be a face; see ``Tracker.judge``."""
        self._x, self._y = face.box.centre
        self._width, self._height = float(face.box.width), float(face.box.height)
        self._speed_x = self._speed_y = 0.0

    def box_at(self, now: float) -> Box:
        """Return the predicted box."""
        elapsed = min(max(0.0, now - self._located_at), MAX_COAST_S)
        x, y = self._x + self._speed_x * elapsed, self._y + self._speed_y * elapsed
        width, height = max(1.0, self._width), max(1.0, self._height)
        return Box(round(x - width / 2), round(y - height / 2), round(width), round(height))

    def max_distance(self, now: float) -> float:
        """Return how far from its predicted centre the face may be detected, in box widths."""
        unknown = min(max(0.0, now - self._located_at) / MAX_REGION_GROWTH_S, 1.0)
        return MAX_DISTANCE + unknown * (MAX_DISTANCE_UNKNOWN - MAX_DISTANCE)

    def missed(self, now: float) -> None:
        """Record a failed search at ``now``."""
        if self.misses == 0:
            self.missed_since = now
        self.misses += 1
        self.last_searched = now

    def found(self, now: float, face: Face) -> None:
        """Record a detection at ``now``."""
        self.move(now, face.box)
        self.hits += 1
        self.was_found = True
        self.misses = 0
        self.last_seen = self.last_searched = now
        self._face = face

    def stay(self, now: float) -> None:
        """Record that the position is unchanged at ``now``."""
        decay = math.exp(-max(0.0, now - self._located_at) / VELOCITY_TIME_S)
        self._speed_x, self._speed_y = decay * self._speed_x, decay * self._speed_y
        self._located_at = now

    def move(self, now: float, box: Box) -> None:
        """Record that the face is in ``box`` at ``now``."""
        elapsed = max(0.0, now - self._located_at)
        x, y = box.centre
        if elapsed >= MIN_ELAPSED_S:
            share = 1 - math.exp(-elapsed / VELOCITY_TIME_S)
            self._speed_x += share * ((x - self._x) / elapsed - self._speed_x)
            self._speed_y += share * ((y - self._y) / elapsed - self._speed_y)
        coasted = min(elapsed, MAX_COAST_S)
        expected = self._x + self._speed_x * coasted, self._y + self._speed_y * coasted
        self._x = expected[0] + POSITION_GAIN * (x - expected[0])
        self._y = expected[1] + POSITION_GAIN * (y - expected[1])
        # The size is not extrapolated: its jitter would make boxes pulsate.
        self._width += POSITION_GAIN * (box.width - self._width)
        self._height += POSITION_GAIN * (box.height - self._height)
        self._located_at = now

    def track(self, now: float, min_hits: int) -> Track:
        """Return the track as a value, predicted for ``now``."""
        box = self.box_at(now)
        # The flags are stale if ``now`` is after the last frame; the times are ambiguous if two frames have the same.
        found, matched = self.was_found and now == self.last_seen, self.matched and now == self._located_at
        face = self._face if found else Face(box, self._face.score)
        return Track(
            self.track_id,
            box,
            self.last_seen,
            confirmed=self.hits >= min_hits and not self.doubted,
            face=None if self.misses and not matched else face,
            last_searched=self.last_searched,
            last_located=self._located_at,
            found=found,
            matched=matched,
        )


def associate(
    tracks: Sequence[Box], faces: Sequence[Box], max_distances: Sequence[float] | None = None
) -> list[tuple[int, int]]:
    """Assign detections to tracks, the pair with the highest score first.

    In the benchmark's sequences this greedy assignment gives the same pairs as the optimal one (Kuhn, 1955): an overlap
    outranks mere proximity, and searches are frequent.

    Args:
        tracks: Predicted boxes of the tracks.
        faces: Detected boxes.
        max_distances: For each track, the limit of the distance in box widths (None: ``MAX_DISTANCE`` for all).

    Returns:
        Pairs (track, face) of indices, each index at most once. Pairs with a score of 0 are left out.
    """
    limits = max_distances or [MAX_DISTANCE] * len(tracks)
    scores = [
        (association_score(track, face, limit), row, column)
        for row, (track, limit) in enumerate(zip(tracks, limits, strict=True))
        for column, face in enumerate(faces)
    ]
    pairs: dict[int, int] = {}
    for score, row, column in sorted(scores, key=lambda entry: -entry[0]):
        if score > 0 and row not in pairs and column not in pairs.values():
            pairs[row] = column
    return sorted(pairs.items())


def association_score(track: Box, face: Box, max_distance: float = MAX_DISTANCE) -> float:
    """Return how well a predicted and a detected box match, 0..2; 0 means that they are not the same face.

    The score is 1 + IoU for boxes that overlap by ``MIN_IOU``. For others it is below 1 and falls linearly with the
    distance of the centres, to 0 at ``max_distance`` mean box widths. An overlap thus always outranks mere proximity.
    """
    overlap = track.iou(face)
    if overlap >= MIN_IOU:
        return 1.0 + overlap
    width = (track.width + face.width) / 2
    smaller, larger = sorted((track.width, face.width))
    if smaller <= 0 or larger > MAX_SIZE_RATIO * smaller:
        return 0.0
    return max(0.0, 1.0 - math.dist(track.centre, face.centre) / (max_distance * width))
