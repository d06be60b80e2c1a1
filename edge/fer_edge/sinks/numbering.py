"""Number events, so that a receiver finds those that arrive twice and those that are lost."""

from __future__ import annotations

import itertools
import secrets
from dataclasses import replace

from fer_edge.types import EmotionEvent

SESSION = secrets.token_hex(8)
"""Identifies this process among all runs of all devices. Random: a device's clock may be wrong after a start."""

_numbers = itertools.count(1)
"""Of the process and not of a group of sinks, because a reload opens new sinks in the same session."""


def numbered(event: EmotionEvent) -> EmotionEvent:
    """Return ``event`` with the session and the next number.

    >>> from fer_edge.types import EventKind
    >>> first, second = (numbered(EmotionEvent(EventKind.HEARTBEAT, "cam0", 1.7e9, 0.0)) for _ in range(2))
    >>> first.session == second.session, second.sequence - first.sequence
    (True, 1)
    """
    return replace(event, session=SESSION, sequence=next(_numbers))
