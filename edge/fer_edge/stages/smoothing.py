"""Smooth the classifier's readings of each track, and decide when a track is classified again.

All times are seconds of a clock that never goes back. Readings may come at any rate and irregularly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from fer_edge.settings.pipeline import EmotionSettings
from fer_edge.types import EmotionProbabilities, Face, Track, TrackReading

MAX_STEADY_DISTANCE = 0.25
"""Total variation distance, 0..1, up to which a reading agrees with the mean of the readings before it."""


class EmotionSmoother:
    """Exponentially weighted mean of the readings of each track of one source."""

    def __init__(self, settings: EmotionSettings | None = None) -> None:
        self._settings = settings or EmotionSettings()
        self._states: dict[int, _State] = {}

    def due(self, tracks: Sequence[Track], now: float) -> list[tuple[int, Face]]:
        """Return track id and face of those of ``tracks`` to classify at ``now``.

        A track whose readings have agreed for ``smoothing_s`` is due ``classify_interval_s`` after its last reading.
        All other tracks with a face are due in every frame.
        """
        return [
            (track.track_id, track.face)
            for track in tracks
            if track.face is not None and self._is_due(track.track_id, now)
        ]

    def add(self, track_id: int, probabilities: EmotionProbabilities | None, now: float) -> None:
        """Add the reading of a track at ``now``; None if its crop was refused."""
        state = self._states.get(track_id)
        if state is not None:
            state.add(probabilities, now, self._settings.smoothing_s)
        elif probabilities is not None:
            self._states[track_id] = _State(probabilities, now)

    def readings(self, tracks: Sequence[Track]) -> tuple[TrackReading, ...]:
        """Return the smoothed reading of each of ``tracks``, in their order, and forget all other tracks."""
        self._states = {track.track_id: state for track in tracks if (state := self._states.get(track.track_id))}
        smoothed = {
            track_id: EmotionProbabilities(state.mean.astype(np.float32))
            for track_id, state in self._states.items()
            if state.readable
        }
        return tuple(TrackReading(track, smoothed.get(track.track_id)) for track in tracks)

    def _is_due(self, track_id: int, now: float) -> bool:
        state = self._states.get(track_id)
        if state is None or not state.readable or now - state.steady_since < self._settings.smoothing_s:
            return True
        return now - state.read_at >= self._settings.classify_interval_s


class _State:
    """The readings of one track: ``mean`` is their weighted mean, float64 [labels]."""

    def __init__(self, probabilities: EmotionProbabilities, now: float) -> None:
        self.mean = probabilities.values.astype(np.float64)
        self.readable = True
        """Whether the last crop was classified, not refused."""
        self.read_at = self.steady_since = now
        self._weight = 1.0

    def add(self, probabilities: EmotionProbabilities | None, now: float, time_constant_s: float) -> None:
        self.readable = probabilities is not None
        if probabilities is None:
            return
        change = probabilities.values - self.mean
        if np.abs(change).sum() / 2 > MAX_STEADY_DISTANCE:
            self.steady_since = now
        # A reading has weight 1 when it is added and decays with the time constant, so the first readings are averaged
        # evenly. A steady face is read rarely: when it changes it is read in every frame, and the few old readings are
        # soon outweighed.
        elapsed = max(0.0, now - self.read_at)
        decay = math.exp(-elapsed / time_constant_s) if time_constant_s > 0 else 0.0
        self._weight = self._weight * decay + 1.0
        self.mean += change / self._weight
        self.read_at = now
