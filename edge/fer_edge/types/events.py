"""The results of a frame: tracked emotions and events."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from fer_edge.types.geometry import Box
from fer_edge.types.scene import Frame

UNCERTAIN = "uncertain"
"""Emotion of a track without a clear expression: a state of the track, not a label of the model."""


@dataclass(frozen=True, slots=True)
class TrackedEmotion:
    """The smoothed emotion of one track.

    Attributes:
        source: Name of the source.
        track_id: Number of the track; unique within its source.
        box: Where the face is, in pixels of the frame.
        emotion: A label of the model, a group of them, or ``UNCERTAIN``; None if faces are not classified.
        confidence: Smoothed probability of ``emotion``, or of the most probable label while uncertain, 0..1. It is 0
            while no crop of the face can be classified.
        since: When ``emotion`` took this value, seconds of the source's clock.
        zone: Name of the zone that the face is in (``source.zones``); None outside all zones.
        valence: Derived from the probabilities, -1..1; None unless ``emotion.valence_arousal`` is on, and while no crop
            can be classified.
        arousal: As ``valence``.

    >>> face = TrackedEmotion("door", 1, Box(177, 66, 95, 95), "happy", confidence=0.83, since=3.2)
    >>> f"{face.emotion} {face.confidence:.0%}"
    'happy 83%'
    """

    source: str
    track_id: int
    box: Box
    emotion: str | None
    confidence: float
    since: float
    zone: str | None = None
    valence: float | None = None
    arousal: float | None = None


@dataclass(frozen=True, slots=True)
class Presence:
    """The number of faces in view, and in each zone, with hysteresis (``[presence]``)."""

    faces: int
    zones: dict[str, int]


class EventKind(StrEnum):
    """Kind of an event.

    >>> EventKind("appeared") is EventKind.APPEARED
    True
    """

    APPEARED = "appeared"
    CHANGED = "changed"
    LEFT = "left"
    HEARTBEAT = "heartbeat"
    SOURCE_LOST = "source_lost"
    SOURCE_BACK = "source_back"
    COUNTS = "counts"
    PRESENCE = "presence"


@dataclass(frozen=True, slots=True)
class FaceCounts:
    """Totals over an interval, summed over all faces.

    Attributes:
        interval_s: Length of the interval, seconds.
        appeared: Number of faces that came into view.
        max_at_once: Largest number of faces in view at the same time.
        emotion_s: Seconds of each emotion, ``UNCERTAIN`` included.
        entered: Number of faces that came into each zone.
    """

    interval_s: float
    appeared: int = 0
    max_at_once: int = 0
    emotion_s: dict[str, float] = field(default_factory=dict)
    entered: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class EmotionEvent:
    """A change that is reported to the outside; one JSON line each (``schema/event.schema.json``).

    Attributes:
        kind: What happened.
        source: Name of the source.
        at: Wall-clock time, seconds since the epoch (UTC).
        mono: Time of the source's own clock, seconds.
        track_id: The track; None for events of the source.
        emotion: New emotion; None if the kind has none.
        previous: Emotion before it; None if there was none.
        confidence: Smoothed probability of ``emotion``, 0..1.
        reason: Why the source was lost; for ``source_lost`` only.
        counts: Totals; for ``counts`` only.
        zone: Name of the zone that the face is in, or was when it left; None if it is in none. For ``presence``: the
            zone whose number changed; None for the whole frame.
        faces: Number of faces in view; for ``presence`` only.
        valence: As in ``TrackedEmotion``.
        arousal: As in ``TrackedEmotion``.
        session: Identifies the run of the program; set when the event is given to the sinks.
        sequence: Number of the event in its session, from 1, without gaps; set together with ``session``.

    >>> event = EmotionEvent(EventKind.CHANGED, "door", at=1.7e9, mono=3.2, track_id=1, emotion="happy")
    >>> event.kind, event.emotion
    (<EventKind.CHANGED: 'changed'>, 'happy')
    """

    kind: EventKind
    source: str
    at: float
    mono: float
    track_id: int | None = None
    emotion: str | None = None
    previous: str | None = None
    confidence: float | None = None
    reason: str | None = None
    counts: FaceCounts | None = None
    zone: str | None = None
    faces: int | None = None
    valence: float | None = None
    arousal: float | None = None
    session: str | None = None
    sequence: int | None = None


@dataclass(frozen=True, slots=True, eq=False)
class FrameResult:
    """The result of one frame: the confirmed tracks in view, and the events that the frame caused.

    ``presence`` is None unless ``presence.enabled`` is on.

    >>> import numpy as np
    >>> frame = Frame("door", 0, 0.0, np.zeros((480, 640), np.uint8))
    >>> FrameResult(frame, tracks=(), events=()).frame.source
    'door'
    """

    frame: Frame
    tracks: tuple[TrackedEmotion, ...]
    events: tuple[EmotionEvent, ...]
    presence: Presence | None = None
