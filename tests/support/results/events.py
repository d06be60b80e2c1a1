"""Numbered events."""

from __future__ import annotations

import json

from fer_edge.types import EmotionEvent, EventKind


def numbered(number: int, source: str = "cam0") -> EmotionEvent:
    """Return an event whose ``mono`` is ``number``."""
    return EmotionEvent(EventKind.CHANGED, source, 1.7e9, float(number), 1, "happy", "sad", 0.8)


def numbers_of(lines: list[bytes]) -> list[int]:
    """Return the numbers of the events in JSON ``lines``."""
    return [int(json.loads(line)["mono"]) for line in lines]
