"""What the run showed: completeness, lag, and the calculation for more devices."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psycopg

_LAG = """
SELECT percentile_cont(ARRAY[0.5, 0.99, 1]) WITHIN GROUP (
    ORDER BY extract(epoch FROM pg_xact_commit_timestamp(xmin) - at)::float8) FROM fleet.events WHERE at < %s
"""
_NUMBERS = "SELECT device, count(*), max(sequence) FROM fleet.events GROUP BY device"
_DISORDER = """
SELECT count(*) FROM (SELECT received < lag(received) OVER (PARTITION BY device, session ORDER BY sequence) AS early
    FROM fleet.events) AS pairs WHERE early
"""
MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Figures:
    """Of a run: seconds, events, processor seconds and MiB of each part, bytes of the events in the database.

    The parts ``one_core`` work in one thread.
    """

    devices: int
    rate: float
    seconds: float
    events: int
    cpu_s: Mapping[str, float]
    max_mib: Mapping[str, float]
    table_bytes: int
    one_core: tuple[str, ...]


def faults(url: str, sent: Mapping[str, int]) -> list[str]:
    """Return what is wrong with the stored events, of which each device has ``sent`` so many."""
    with psycopg.connect(url) as connection:
        stored = {device: (number, highest) for device, number, highest in connection.execute(_NUMBERS)}
        rejected = connection.execute("SELECT device, reason, messages FROM fleet.rejected").fetchall()
    missing = {device: n - stored.get(device, (0, 0))[0] for device, n in sent.items()}
    wrong = {device: n for device, n in missing.items() if n}
    lines = [f"{sum(wrong.values())} events of {len(wrong)} devices are missing"] if wrong else []
    lines += [
        f"{device}: a number that it did not send" for device, n in sent.items() if n < stored.get(device, (0, 0))[1]
    ]
    return lines + [f"rejected: {row}" for row in rejected]


def disorder(url: str) -> int:
    """Return the number of events that were received before one of a lower number of the same device."""
    with psycopg.connect(url) as connection:
        return int(_one(connection, _DISORDER))


def lags(url: str, before: datetime) -> tuple[float, float, float]:
    """Return the median, the 99th percentile and the maximum of the seconds from event to commit."""
    with psycopg.connect(url) as connection:
        median, p99, highest = _one(connection, _LAG, before) or (math.nan,) * 3  # none in a very short run
        return float(median), float(p99), float(highest)


def table_bytes(url: str) -> int:
    """Return the size of all partitions of the events with their indexes."""
    with psycopg.connect(url) as connection:
        return int(_one(connection, "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits"
                                    " WHERE inhparent = 'fleet.events'::regclass"))  # fmt: skip


def calculation(figures: Figures) -> str:
    """Return what a million devices with the same rate would take, and which assumption breaks first.

    >>> cpu = {"broker": 1.0, "ingest": 20.0, "postgresql": 10.0}
    >>> parts = ("broker", "ingest", "postgresql")
    >>> print(calculation(Figures(100, 0.1, 100.0, 1000, cpu, {"broker": 10.0}, 300_000, parts)))
    A million devices with 0.1 events/s each, in proportion: 100000 events/s, 2592 GB of events a day,
    broker 100.0 cores and 98 GiB, ingest 2000.0 cores, PostgreSQL 1000.0 cores.
    What works in one thread is busy at: broker 10,000, ingest 500, PostgreSQL 1,000 devices.
    Breaks first: one ingest is enough.
    """
    factor = MILLION / figures.devices
    cores = {part: figures.cpu_s[part] / figures.seconds for part in ("broker", "ingest", "postgresql")}
    busy_at = {part: figures.devices / cores[part] for part in figures.one_core}
    per_day = figures.table_bytes / figures.events * figures.rate * MILLION * 86_400
    name = {"broker": "broker", "ingest": "ingest", "postgresql": "PostgreSQL"}
    limits = ", ".join(f"{name[part]} {devices:,.0f}" for part, devices in busy_at.items())
    first = min(busy_at, key=lambda part: busy_at[part])
    enough = {"broker": "one broker", "ingest": "one ingest", "postgresql": "one connection to PostgreSQL"}[first]
    return (
        f"A million devices with {figures.rate:g} events/s each, in proportion: {figures.rate * MILLION:.0f} events/s,"
        f" {per_day / 1e9:.0f} GB of events a day,\n"
        f"broker {cores['broker'] * factor:.1f} cores and {figures.max_mib['broker'] * factor / 1024:.0f} GiB,"
        f" ingest {cores['ingest'] * factor:.1f} cores, PostgreSQL {cores['postgresql'] * factor:.1f} cores.\n"
        f"What works in one thread is busy at: {limits} devices.\n"
        f"Breaks first: {enough} is enough."
    )


def _one(connection: psycopg.Connection[Any], query: str, *values: object) -> Any:
    row = connection.execute(query, values or None).fetchone()
    assert row is not None
    return row[0]
