"""Print events as readable lines."""

from __future__ import annotations

import time

from fer_edge.settings.redaction import redacted
from fer_edge.system.messages import printable
from fer_edge.types import UNCERTAIN, EmotionEvent, EventKind, FaceCounts

_KINDS = {EventKind.SOURCE_LOST: "lost", EventKind.SOURCE_BACK: "back"}
"""Other words than those of the event format."""


def encode_text_line(event: EmotionEvent, *, local_time: bool = False) -> bytes:
    """Return ``event_line`` in UTF-8, with a newline."""
    return event_line(event, local_time=local_time).encode() + b"\n"


def event_line(event: EmotionEvent, *, local_time: bool = False) -> str:
    """Return ``event`` as one line of text, with control characters of names escaped.

    It begins with the time of the source's clock, which for a file is media time; with ``local_time``, as for a camera,
    with the local time of day.

    >>> from fer_edge import EmotionEvent, EventKind
    >>> event_line(EmotionEvent(EventKind.CHANGED, "cam0", 1.7e9, 123.4, 3, "happy", "neutral", 0.83))
    '  123.40 s  cam0  face 3  changed   neutral -> happy  83%'
    """
    when = time.strftime("%H:%M:%S", time.localtime(event.at)) if local_time else f"{event.mono:8.2f} s"
    parts = [when, event.source]
    if event.track_id is not None:
        parts.append(f"face {event.track_id}")
    parts.append(f"{_KINDS.get(event.kind, event.kind.value):<8}")
    if event.emotion is not None:
        before = f"{event.previous} -> " if event.previous is not None else ""
        parts.append(before + event.emotion)
    elif event.previous is not None:
        parts.append(f"was {event.previous}")
    if event.confidence is not None and event.emotion != UNCERTAIN:
        parts.append(f"{event.confidence:.0%}")
    if event.faces is not None:
        parts.append("1 face" if event.faces == 1 else f"{event.faces} faces")
    if event.zone is not None:
        parts.append(f"in {event.zone}")
    if event.counts is not None:
        parts.append(_counts_line(event.counts))
    if event.reason is not None:
        parts.append(redacted(event.reason).removeprefix(f"{event.source}: "))
    return printable("  ".join(parts).rstrip())


def _counts_line(counts: FaceCounts) -> str:
    seen = "  ".join(f"{emotion} {seconds:.0f} s" for emotion, seconds in sorted(counts.emotion_s.items()))
    entered = "".join(f", {count} in {zone}" for zone, count in sorted(counts.entered.items()))
    return f"{counts.appeared} appeared, {counts.max_at_once} at once{entered}  {seen}".rstrip()
