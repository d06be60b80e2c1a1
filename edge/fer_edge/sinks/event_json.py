"""Events as the JSON objects that ``schema/event.schema.json`` describes."""

from __future__ import annotations

import ctypes
from datetime import UTC, datetime
from typing import Any

from fer_edge.types import EmotionEvent

_TIME_ERROR = 5
"""What adjtimex(2) returns while the clock is not synchronized."""


def event_to_json(event: EmotionEvent) -> dict[str, Any]:
    """The event as the JSON object of ``schema/event.schema.json``; call it when the event is made.

    ``clock_synced`` says whether ``at`` can be trusted, and is left out where the system does not tell.

    >>> from fer_edge import EmotionEvent, EventKind
    >>> line = event_to_json(EmotionEvent(EventKind.APPEARED, "door", 1.7e9, 3.2, 1, "happy", confidence=0.83))
    >>> line["kind"], line["track"], line["at"]
    ('appeared', 1, '2023-11-14T22:13:20.000Z')
    """
    line: dict[str, Any] = {
        "v": 1,
        "kind": event.kind.value,
        "source": event.source,
        "track": event.track_id,
        "emotion": event.emotion,
        "previous": event.previous,
        "confidence": None if event.confidence is None else round(event.confidence, 4),
        "at": datetime.fromtimestamp(event.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "mono": round(event.mono, 3),
    }
    if event.reason is not None:
        line["reason"] = event.reason
    if event.counts is not None:
        line["counts"] = {
            "interval_s": round(event.counts.interval_s, 3),
            "appeared": event.counts.appeared,
            "most_at_once": event.counts.most_at_once,
            "emotion_s": {name: round(seconds, 1) for name, seconds in sorted(event.counts.emotion_s.items())},
        }
    synced = clock_synced()
    return line if synced is None else {**line, "clock_synced": synced}


def clock_synced() -> bool | None:
    """Whether the kernel holds the wall clock for synchronized (by NTP or PTP); None where it cannot be asked.

    Asks adjtimex(2) without changing anything: systemd-timesyncd, chrony and ntpd all report there, and the
    kernel itself takes it back when they fall silent.
    """
    try:
        # Zeroed, and larger than any struct timex (208 bytes): modes 0 means read only.
        code = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError, TypeError):  # no libc by that name, or not Linux
        return None
    return None if code < 0 else code != _TIME_ERROR
