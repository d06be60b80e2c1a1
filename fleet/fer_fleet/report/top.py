"""The devices of a fleet that need attention, read again at intervals."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from fer_edge.system.messages import print_text
from fer_fleet.report.listing import cell, lines

_COLUMNS = ("device", "online", "version", "fps", "temperature", "throttled", "rate", "dropped", "limited", "rejected")
_HEADINGS = {"temperature": "°C", "rate": "events/s"}
_CLEAR = "\x1b[H\x1b[J"


def top(
    read: Callable[[], Sequence[Mapping[str, Any]]], order: str, max_lines: int, every_s: float, count: int | None
) -> None:
    """Print the first ``max_lines`` devices by ``order``, largest first, every ``every_s`` seconds, ``count`` times.

    Rates are of the time since the reading before, hence nothing is printed for the first one. A terminal is cleared
    before each page.
    """
    before, at = read(), time.monotonic()
    shown = 0
    while count is None or shown < count:
        time.sleep(every_s)
        now, now_at = read(), time.monotonic()
        text = page(before, now, now_at - at, order, max_lines)
        if sys.stdout.isatty():
            sys.stdout.write(_CLEAR)
        print_text(text if sys.stdout.isatty() or count == 1 else f"{text}\n")
        sys.stdout.flush()
        before, at, shown = now, now_at, shown + 1


def page(
    before: Sequence[Mapping[str, Any]],
    now: Sequence[Mapping[str, Any]],
    seconds: float,
    order: str,
    max_lines: int,
) -> str:
    """Return a line about the fleet, and the table.

    >>> door = {**dict.fromkeys(_COLUMNS), "device": "door", "online": True, "dropped": 2, "limited": 0, "rejected": 0}
    >>> print(page([{**door, "events": 5}], [{**door, "events": 25}], 10.0, "rate", 5).partition("  ")[2])
    1 device, 1 online; 2.0 events/s; 2 dropped, 0 limited, 0 rejected
    device  online  version  fps  °C  throttled  events/s  dropped  limited  rejected
    door    yes     -        -    -   -          2.0       2        0        0
    <BLANKLINE>
    """
    earlier = {row["device"]: row["events"] for row in before}
    rows = [{**row, "rate": max(0, row["events"] - earlier.get(row["device"], 0)) / seconds} for row in now]
    rows.sort(key=lambda row: -1e9 if row[order] is None else row[order], reverse=True)
    totals = ", ".join(f"{sum(row[name] for row in rows)} {name}" for name in ("dropped", "limited", "rejected"))
    online = sum(row["online"] is True for row in rows)
    devices = f"{len(rows)} device{'' if len(rows) == 1 else 's'}, {online} online"
    rate = sum(row["rate"] for row in rows)
    head = f"{datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}  {devices}; {rate:.1f} events/s; {totals}\n"
    headings = [_HEADINGS.get(name, name) for name in _COLUMNS]
    return head + lines([headings, *([_cell(row, name) for name in _COLUMNS] for row in rows[:max_lines])])


def _cell(row: Mapping[str, Any], name: str) -> str:
    return f"{row[name]:.1f}" if name == "rate" else cell(row[name])
