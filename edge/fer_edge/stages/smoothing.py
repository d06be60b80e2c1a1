"""What is known of each track's expression: its smoothed probabilities, and when its face is to be read again.

All times are seconds on a clock that does not go back. Readings may come at any rate, and irregularly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fer_edge.settings.runtime import EmotionSettings
from fer_edge.types import EmotionProbabilities, Face, Track, TrackReading

AGREEING = 0.25
"""Total variation distance, 0..1, up to which a reading agrees with the mean of those before it."""


class EmotionSmoother:
    """The exponentially weighted mean of what the classifier said of each track of one source."""

    def __init__(self, settings: EmotionSettings | None = None) -> None:
        self._settings = settings or EmotionSettings()
        self._states: dict[int, _State] = {}

    def due(self, tracks: Sequence[Track], now: float) -> list[tuple[int, Face]]:
        """Track id and face of those in sight whose expression is to be read at ``now``.

        These are all of them, but for tracks whose readings have agreed for ``smoothing_s``: they are read again
        ``classify_every_s`` after their last reading.
        """
        return [
            (track.track_id, track.face)
            for track in tracks
            if track.face is not None and self._is_due(track.track_id, now)
        ]

    def add(self, track_id: int, probabilities: EmotionProbabilities | None, now: float) -> None:
        """Take in what was read of a track at ``now``; None: its crop was not good enough to be classified."""
        state = self._states.get(track_id)
        if state is not None:
            state.add(probabilities, now, self._settings.smoothing_s)
        elif probabilities is not None:
            self._states[track_id] = _State(probabilities, now)

    def readings(self, tracks: Sequence[Track]) -> tuple[TrackReading, ...]:
        """What is known of each of the source's ``tracks``; the others are forgotten."""
        self._states = {track.track_id: state for track in tracks if (state := self._states.get(track.track_id))}
        return tuple(TrackReading(track, self._known(track.track_id)) for track in tracks)

    def _is_due(self, track_id: int, now: float) -> bool:
        state = self._states.get(track_id)
        if state is None or not state.readable or now - state.agreeing_since < self._settings.smoothing_s:
            return True
        return now - state.read_at >= self._settings.classify_every_s

    def _known(self, track_id: int) -> EmotionProbabilities | None:
        state = self._states.get(track_id)
        if state is None or not state.readable:
            return None
        return EmotionProbabilities(state.mean.astype(np.float32))


class _State:
    """The readings of one track: their mean, float64 [labels], and the weight it stands for."""

    def __init__(self, probabilities: EmotionProbabilities, now: float) -> None:
        self.mean = probabilities.values.astype(np.float64)
        self.readable = True
        """Whether the last crop was good enough."""
        self.read_at = self.agreeing_since = now
        self._weight = 1.0

    def add(self, probabilities: EmotionProbabilities | None, now: float, time_constant_s: float) -> None:
        self.readable = probabilities is not None
        if probabilities is None:
            return
        change = probabilities.values - self.mean
        if np.abs(change).sum() / 2 > AGREEING:
            self.agreeing_since = now
        # Each reading counts 1 when new and fades with the time constant, so the first ones average evenly. A face that
        # was calm was read seldom: when it changes and is read in every frame, few old readings stand against the new.
        elapsed = max(0.0, now - self.read_at)
        fading = math.exp(-elapsed / time_constant_s) if time_constant_s > 0 else 0.0
        self._weight = self._weight * fading + 1.0
        self.mean += change / self._weight
        self.read_at = now
