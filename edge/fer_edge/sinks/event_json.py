"""Convert events to the JSON objects of ``schema/event.schema.json``."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from fer_edge.types import EmotionEvent

_TIME_ERROR = 5
"""Returned by adjtimex(2) while the clock is not synchronized (TIME_ERROR)."""


def event_to_json(event: EmotionEvent) -> dict[str, Any]:
    """Return the JSON object of ``event``, as ``schema/event.schema.json`` describes it.

    Call it when the event occurs: ``clock_synced``, which says whether ``at`` can be trusted, is read now. It is
    omitted if the system does not provide it.

    >>> from fer_edge import EmotionEvent, EventKind
    >>> json_event = event_to_json(EmotionEvent(EventKind.LEFT, "cam0", 1.7e9, 12.3, 3, previous="happy"))
    >>> json_event["kind"], json_event["track"], json_event["previous"], json_event["at"]
    ('left', 3, 'happy', '2023-11-14T22:13:20.000Z')
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


def event_json_line(event: EmotionEvent) -> bytes:
    """Return ``event_to_json`` of ``event`` as a line of compact JSON, with its newline."""
    return json_bytes(event_to_json(event)) + b"\n"


def json_bytes(value: Mapping[str, Any]) -> bytes:
    """Return ``value`` as compact JSON in UTF-8. Surrogates, as in file names that are not UTF-8, are escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8", "backslashreplace")


def clock_synced() -> bool | None:
    """Return whether the kernel considers the wall clock synchronized (by NTP or PTP); None if this is unknown.

    Reads adjtimex(2): systemd-timesyncd, chrony and ntpd set the state there, and the kernel resets it when they stop
    updating it.
    """
    try:
        # Zeroed, and larger than any struct timex (208 bytes): modes 0 means read only.
        code = int(ctypes.CDLL(None).adjtimex(ctypes.create_string_buffer(512)))
    except (OSError, AttributeError, TypeError):  # not Linux, or another libc
        return None
    return None if code < 0 else code != _TIME_ERROR
