"""The devices of a fleet as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fer_edge.system.messages import aligned

_HEADINGS = ("device", "online", "version", "model", "last seen", "events", "dropped", "rejected")


def table(devices: Sequence[Mapping[str, Any]]) -> str:
    """Return a line of each device below the headings.

    >>> door = {"device": "door", "online": True, "version": "0.1.0", "model": "s 1", "seen": None,
    ...         "events": 7, "dropped": 0, "rejected": 0}
    >>> print(table([door]))
    device  online  version  model  last seen  events  dropped  rejected
    door    yes     0.1.0    s 1    -          7       0        0
    <BLANKLINE>
    """
    return "\n".join(aligned([_HEADINGS, *map(_cells, devices)])) + "\n"


def _cells(device: Mapping[str, Any]) -> tuple[str, ...]:
    online = {True: "yes", False: "no", None: "-"}[device["online"]]
    seen: datetime | None = device["seen"]
    when = "-" if seen is None else f"{seen.astimezone(UTC):%Y-%m-%d %H:%M:%SZ}"
    text = (device["device"], online, device["version"] or "-", device["model"] or "-", when)
    return (*text, *(str(device[name]) for name in ("events", "dropped", "rejected")))
