"""The devices of a fleet as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fer_edge.system.messages import aligned

_COLUMNS = ("device", "online", "version", "model", "seen", "events", "dropped", "limited", "rejected")


def table(devices: Sequence[Mapping[str, Any]]) -> str:
    """Return a line of each device below the headings.

    >>> door = {"device": "door", "online": True, "version": "0.1.0", "model": "s 1", "seen": None,
    ...         "events": 7, "dropped": 0, "limited": 0, "rejected": 0}
    >>> print(table([door]))
    device  online  version  model  last seen  events  dropped  limited  rejected
    door    yes     0.1.0    s 1    -          7       0        0        0
    <BLANKLINE>
    """
    rows = ([cell(device[name]) for name in _COLUMNS] for device in devices)
    return lines([list(map(heading, _COLUMNS)), *rows])


def lines(rows: Sequence[Sequence[str]]) -> str:
    """Return ``rows`` as lines with aligned columns.

    >>> lines([("a", "b"), ("long", "c")])
    'a     b\\nlong  c\\n'
    """
    return "\n".join(aligned(rows)) + "\n"


def heading(name: str) -> str:
    """Return the words for a column of the tables."""
    return "last seen" if name == "seen" else name.replace("_", " ")


def cell(value: object) -> str:
    """Return ``value`` as people read it.

    >>> cell(None), cell(True), cell(datetime(2026, 3, 1, 12, tzinfo=UTC)), cell(61.0)
    ('-', 'yes', '2026-03-01 12:00:00Z', '61')
    """
    if value is None or value == "":
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{value.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    return f"{value:.0f}" if isinstance(value, float) else str(value)
