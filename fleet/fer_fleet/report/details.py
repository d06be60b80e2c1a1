"""Everything about one device."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from fer_fleet.report.listing import cell, heading, lines

_UNITS = {"temperature": " °C"}
_FACTS = (
    "online", "seen", "version", "model", "variant", "privacy", "settings", "fps", "temperature", "throttled",
    "events", "dropped", "rejected",
)  # fmt: skip
_TABLES = {
    "sources": ("source", "events", "last", "lost"),
    "sessions": ("session", "first_day", "last_day", "events", "dropped"),
    "rejected_by_reason": ("reason", "messages", "last"),
}
_TITLES = {
    "sources": "Sources, since yesterday",
    "sessions": "Newest sessions",
    "rejected_by_reason": "Rejected messages",
}


def details(device: Mapping[str, Any]) -> str:
    """Return the facts about ``device``, then a table of each kind that it has.

    >>> door = {**dict.fromkeys(_FACTS), "device": "door", "online": True, "temperature": 61.0, "newest_event": None,
    ...         "sources": [], "sessions": [], "rejected_by_reason": [{"reason": "no session", "messages": 3,
    ...         "last": None}]}
    >>> print(details(door))  # doctest: +ELLIPSIS
    device        door
    online        yes
    last seen     -
    ...
    temperature   61 °C
    ...
    newest event  -
    <BLANKLINE>
    Rejected messages
    reason      messages  last
    no session  3         -
    <BLANKLINE>
    """
    facts = [("device", cell(device["device"])), *((heading(name), _fact(device, name)) for name in _FACTS)]
    facts.append(("newest event", _newest(device["newest_event"])))
    parts = [lines(facts)]
    for name, columns in _TABLES.items():
        rows: Sequence[Mapping[str, Any]] = device[name]
        if rows:
            table = [tuple(map(heading, columns)), *(tuple(cell(row[column]) for column in columns) for row in rows)]
            parts.append(f"{_TITLES[name]}\n{lines(table)}")
    return "\n".join(parts)


def _fact(device: Mapping[str, Any], name: str) -> str:
    value = device[name]
    return cell(value) + (_UNITS.get(name, "") if value is not None else "")


def _newest(event: Mapping[str, Any] | None) -> str:
    """Return when the newest event was received, and the time of the device's clock, which may be wrong."""
    if event is None:
        return "-"
    synced = {True: "", False: ", which is not synchronized", None: ""}[event["clock_synced"]]
    return f"{cell(event['received'])}, at {cell(event['at'])} by its own clock{synced}"
