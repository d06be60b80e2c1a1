"""Turn the smoothed readings of tracks into stable emotions, and their changes into events.

All times are seconds of a clock that never goes back, except ``EmotionEvent.at``, which is wall-clock time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

from fer_edge.settings.pipeline import EmotionSettings
from fer_edge.types import (
    UNCERTAIN,
    EmotionEvent,
    EmotionProbabilities,
    EventKind,
    TrackedEmotion,
    TrackReading,
)

_ROUNDING_S = 1e-6
"""Tolerance for rounding in frame times: at 15 frames per second, 0.2 s must be three frames."""


class Hysteresis:
    """The emotion of one track with hysteresis: the index of a label, or None while uncertain.

    The first emotion is accepted when its smoothed probability reaches ``enter``. After that the state changes only if
    one of these holds for ``min_dwell_s`` without interruption:

    - the same other emotion is at ``enter`` or above and exceeds the current one by ``lead``;
    - the current emotion is below ``exit``, or the probabilities are unknown.

    While the face is not visible the state is kept, and that time counts towards ``min_dwell_s``: a face that reappears
    with another emotion changes at once if it was hidden for long enough.
    """

    def __init__(self, settings: EmotionSettings) -> None:
        self._settings = settings
        self.label: int | None = None
        self._new = True
        self._contender: int | None = None
        self._contested_since: float | None = None
        self._hidden_since: float | None = None

    def hide(self, now: float) -> int | None:
        """Record that the face is not visible at ``now``, and return its label index."""
        if self._hidden_since is None:
            self._hidden_since = now
        return self.label

    def update(self, probabilities: EmotionProbabilities | None, now: float) -> int | None:
        """Update with the smoothed probabilities at ``now`` (None: unknown), and return the label index."""
        target = self._target(probabilities)
        since, self._hidden_since = now if self._hidden_since is None else self._hidden_since, None
        if target == self.label:
            self._contested_since = None
            return self.label
        if self._contested_since is None or target != self._contender:
            self._contender, self._contested_since = target, since
        if self._new or now - self._contested_since >= self._settings.min_dwell_s - _ROUNDING_S:
            self.label = target
            self._new = False
            self._contested_since = None
        return self.label

    def _target(self, probabilities: EmotionProbabilities | None) -> int | None:
        if probabilities is None:
            return None
        values, top = probabilities.values, probabilities.top
        sure = values[top] >= self._settings.enter
        if self.label is None:
            return top if sure else None
        if sure and values[top] - values[self.label] > self._settings.min_lead:
            return top
        if values[self.label] < self._settings.exit:
            return top if sure else None
        return self.label


class EventBuilder:
    """Make the events of one source's tracks.

    Args:
        labels: The label of each probability; empty if faces are not classified.
        settings: None for the defaults.
        wall_clock: Returns seconds since the epoch.
        affect: Returns valence and arousal; None if they are not reported.
    """

    def __init__(
        self,
        labels: Sequence[str],
        settings: EmotionSettings | None = None,
        wall_clock: Callable[[], float] = time.time,
        affect: Callable[[EmotionProbabilities], tuple[float, float]] | None = None,
    ) -> None:
        self._labels, self._uncertain = tuple(labels), UNCERTAIN if labels else None
        self._affect = affect
        self._settings = settings or EmotionSettings()
        self._wall_clock = wall_clock
        self._reported: dict[int, _Reported] = {}
        self._last_heartbeat: float | None = None

    def update(
        self,
        source: str,
        readings: Sequence[TrackReading],
        now: float,
        zones: Mapping[int, str | None] = MappingProxyType({}),
    ) -> tuple[tuple[TrackedEmotion, ...], tuple[EmotionEvent, ...]]:
        """Update with the readings of one frame.

        Args:
            source: Name of the source, for the events.
            readings: All tracks of the source; unconfirmed ones are ignored.
            now: Time of the frame, seconds.
            zones: The zone of each track by its id.

        Returns:
            The emotions of the confirmed tracks, and the events that the frame caused.
        """
        confirmed = [reading for reading in readings if reading.track.confirmed]
        events = self._left(source, {reading.track.track_id for reading in confirmed}, now)
        for reading in confirmed:
            events += self._track_events(source, reading, now, zones.get(reading.track.track_id))
        emotions = tuple(self._reported[reading.track.track_id].last for reading in confirmed)
        events += self._heartbeats(source, emotions, now)
        return emotions, tuple(events)

    def presence(self, source: str, changed: Sequence[tuple[str | None, int]], now: float) -> tuple[EmotionEvent, ...]:
        """Return an event for each changed number of faces, given with its zone; None for the whole frame."""
        at = self._wall_clock()
        return tuple(
            EmotionEvent(EventKind.PRESENCE, source, at, now, zone=zone, faces=faces) for zone, faces in changed
        )

    def finish(self, source: str, now: float) -> tuple[EmotionEvent, ...]:
        """Return ``left`` for all remaining tracks, because the source has ended."""
        return tuple(self._left(source, set(), now))

    def _track_events(self, source: str, reading: TrackReading, now: float, zone: str | None) -> list[EmotionEvent]:
        track, probabilities = reading.track, reading.probabilities
        before = self._reported.get(track.track_id)
        state = before.state if before else Hysteresis(self._settings)
        label = state.update(probabilities, now) if track.followed else state.hide(now)
        emotion = self._uncertain if label is None else self._labels[label]
        previous = before.last.emotion if before else None
        if probabilities is not None:
            confidence = float(probabilities.values[probabilities.top if label is None else label])
        else:  # an emotion that is kept keeps its confidence
            confidence = before.last.confidence if before and label is not None else 0.0
        since = before.last.since if before and emotion == previous else now
        valence, arousal = self._affect(probabilities) if self._affect and probabilities else (None, None)
        current = TrackedEmotion(source, track.track_id, track.box, emotion, confidence, since, zone, valence, arousal)
        self._reported[track.track_id] = _Reported(state, current)
        if before and emotion == previous:
            return []
        kind = EventKind.CHANGED if before else EventKind.APPEARED
        return [self._event(kind, source, now, current, previous)]

    def _left(self, source: str, remaining: set[int], now: float) -> list[EmotionEvent]:
        gone = [self._reported.pop(track_id).last for track_id in [*self._reported] if track_id not in remaining]
        return [self._event(EventKind.LEFT, source, now, track, track.emotion) for track in gone]

    def _heartbeats(self, source: str, emotions: Sequence[TrackedEmotion], now: float) -> list[EmotionEvent]:
        """Return one heartbeat per track every ``heartbeat_s``, or one without a track if there are none."""
        if self._settings.heartbeat_s == 0:
            return []
        if self._last_heartbeat is None:
            self._last_heartbeat = now
        if now - self._last_heartbeat < self._settings.heartbeat_s:
            return []
        self._last_heartbeat = now
        if not emotions:
            return [self._event(EventKind.HEARTBEAT, source, now)]
        return [self._event(EventKind.HEARTBEAT, source, now, track) for track in emotions]

    def _event(
        self,
        kind: EventKind,
        source: str,
        now: float,
        track: TrackedEmotion | None = None,
        previous: str | None = None,
    ) -> EmotionEvent:
        event = EmotionEvent(kind, source, self._wall_clock(), now, previous=previous)
        if track is None:
            return event
        event = replace(event, track_id=track.track_id, zone=track.zone)
        if kind is EventKind.LEFT:
            return event
        confidence = None if track.emotion is None else track.confidence
        return replace(
            event, emotion=track.emotion, confidence=confidence, valence=track.valence, arousal=track.arousal
        )


class _Reported(NamedTuple):
    """State of a track, and its emotion as last reported."""

    state: Hysteresis
    last: TrackedEmotion
