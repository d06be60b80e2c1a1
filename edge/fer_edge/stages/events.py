"""Readings of tracks to emotions that do not flicker, and to the events worth telling.

All times are seconds on a clock that does not go back; only ``at`` is wall-clock time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from fer_edge.settings.runtime import EmotionSettings
from fer_edge.types import (
    UNCERTAIN,
    EmotionEvent,
    EmotionProbabilities,
    EventKind,
    TrackedEmotion,
    TrackReading,
)

_ROUNDING_S = 1e-6
"""Times of frames are sums of fractions: at 15 frames a second 0.2 s are three frames, however the last digit falls."""


class Hysteresis:
    """The emotion of one track: index of a label, or None while uncertain.

    The first one is taken once its smoothed probability reaches ``enter``. After that the state changes once, for
    ``min_dwell_s`` without a break, one and the same other emotion has reached ``enter`` and leads by ``lead``, or its
    own is below ``exit`` or unknown. While the face cannot be seen nothing changes, but that time counts: who is found
    again with another emotion need not hold it anew.
    """

    def __init__(self, settings: EmotionSettings) -> None:
        self._settings = settings
        self.label: int | None = None
        self._new = True
        self._contender: int | None = None
        self._contested_since: float | None = None
        self._unseen_since: float | None = None

    def unseen(self, now: float) -> int | None:
        """The face cannot be seen at ``now``; returns the label that it has."""
        if self._unseen_since is None:
            self._unseen_since = now
        return self.label

    def update(self, probabilities: EmotionProbabilities | None, now: float) -> int | None:
        """Take in the smoothed probabilities at ``now`` (None: unknown); returns the label."""
        wanted = self._wanted(probabilities)
        since, self._unseen_since = now if self._unseen_since is None else self._unseen_since, None
        if wanted == self.label:
            self._contested_since = None
            return self.label
        if self._contested_since is None or wanted != self._contender:
            self._contender, self._contested_since = wanted, since
        if self._new or now - self._contested_since >= self._settings.min_dwell_s - _ROUNDING_S:
            self.label = wanted
            self._new = False
            self._contested_since = None
        return self.label

    def _wanted(self, probabilities: EmotionProbabilities | None) -> int | None:
        if probabilities is None:
            return None
        values, top = probabilities.values, probabilities.top
        sure = values[top] >= self._settings.enter
        if self.label is None:
            return top if sure else None
        if sure and values[top] - values[self.label] > self._settings.lead:
            return top
        if values[self.label] < self._settings.exit:
            return top if sure else None
        return self.label


class EventTeller:
    """Tells what happened to the tracks of one source."""

    def __init__(
        self,
        labels: Sequence[str],
        settings: EmotionSettings | None = None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._labels = tuple(labels)
        self._settings = settings or EmotionSettings()
        self._wall_clock = wall_clock
        self._told: dict[int, _Told] = {}
        self._last_heartbeat: float | None = None

    def update(
        self, source: str, readings: Sequence[TrackReading], now: float
    ) -> tuple[tuple[TrackedEmotion, ...], tuple[EmotionEvent, ...]]:
        """What is said of the confirmed tracks at ``now``, and the events that makes."""
        confirmed = [reading for reading in readings if reading.track.confirmed]
        events = self._left(source, {reading.track.track_id for reading in confirmed}, now)
        for reading in confirmed:
            events += self._track_events(source, reading, now)
        emotions = tuple(self._told[reading.track.track_id].last for reading in confirmed)
        events += self._heartbeats(source, emotions, now)
        return emotions, tuple(events)

    def finish(self, source: str, now: float) -> tuple[EmotionEvent, ...]:
        """The source ended: everyone still there has left."""
        return tuple(self._left(source, set(), now))

    def _track_events(self, source: str, reading: TrackReading, now: float) -> list[EmotionEvent]:
        track = reading.track
        told = self._told.get(track.track_id)
        state = told.state if told else Hysteresis(self._settings)
        label = state.update(reading.probabilities, now) if track.followed else state.unseen(now)
        emotion = UNCERTAIN if label is None else self._labels[label]
        previous = told.last.emotion if told else None
        confidence = _confidence(reading.probabilities, label)
        if told and label is not None and reading.probabilities is None:
            confidence = told.last.confidence  # what is told is as sure as it was
        since = told.last.since if told and emotion == previous else now
        current = TrackedEmotion(source, track.track_id, track.box, emotion, confidence, since)
        self._told[track.track_id] = _Told(state, current)
        if emotion == previous:
            return []
        kind = EventKind.CHANGED if told else EventKind.APPEARED
        return [self._event(kind, source, now, track.track_id, emotion, previous, confidence)]

    def _left(self, source: str, still_there: set[int], now: float) -> list[EmotionEvent]:
        gone = [track_id for track_id in self._told if track_id not in still_there]
        return [
            self._event(EventKind.LEFT, source, now, track_id, previous=self._told.pop(track_id).last.emotion)
            for track_id in gone
        ]

    def _heartbeats(self, source: str, emotions: Sequence[TrackedEmotion], now: float) -> list[EmotionEvent]:
        """One for each track every ``heartbeat_s``; one without a track while nobody is there."""
        if self._settings.heartbeat_s == 0:
            return []
        if self._last_heartbeat is None:
            self._last_heartbeat = now
        if now - self._last_heartbeat < self._settings.heartbeat_s:
            return []
        self._last_heartbeat = now
        if not emotions:
            return [self._event(EventKind.HEARTBEAT, source, now)]
        return [
            self._event(EventKind.HEARTBEAT, source, now, told.track_id, told.emotion, None, told.confidence)
            for told in emotions
        ]

    def _event(
        self,
        kind: EventKind,
        source: str,
        now: float,
        track_id: int | None = None,
        emotion: str | None = None,
        previous: str | None = None,
        confidence: float | None = None,
    ) -> EmotionEvent:
        return EmotionEvent(kind, source, self._wall_clock(), now, track_id, emotion, previous, confidence)


class _Told:
    """What was last said of a track."""

    def __init__(self, state: Hysteresis, last: TrackedEmotion) -> None:
        self.state = state
        self.last = last


def _confidence(probabilities: EmotionProbabilities | None, label: int | None) -> float:
    if probabilities is None:
        return 0.0
    return float(probabilities.values[probabilities.top if label is None else label])
