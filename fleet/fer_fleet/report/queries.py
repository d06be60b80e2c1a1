"""Read the tables of a fleet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg.rows import dict_row

from fer_edge.errors import InputError, OutputError
from fer_fleet.connection import connect, database_error
from fer_fleet.rate_limit import REASON

Row = dict[str, Any]

_DEVICES = f"""
SELECT device, d.online, d.description->>'version' AS version,
    concat_ws(' ', d.description->'model'->>'name', d.description->'model'->>'version') AS model, d.seen,
    t.fps::float8, t.temperature::float8, coalesce(t.throttled, '') AS throttled,
    coalesce(s.stored, 0) AS events, coalesce(s.dropped, 0) AS dropped,
    coalesce(r.limited, 0) AS limited, coalesce(r.rejected, 0) AS rejected
FROM (SELECT device FROM fleet.devices UNION SELECT device FROM fleet.rejected) AS known
LEFT JOIN fleet.devices d USING (device)
LEFT JOIN fleet.states t USING (device)
LEFT JOIN (SELECT device, sum(stored)::bigint AS stored, sum(last - stored)::bigint AS dropped
    FROM fleet.sessions GROUP BY device) AS s USING (device)
LEFT JOIN (SELECT device, sum(messages)::bigint AS rejected,
    (sum(messages) FILTER (WHERE reason = '{REASON}'))::bigint AS limited
    FROM fleet.rejected GROUP BY device) AS r USING (device)
"""
_ABOUT = """
SELECT description->'model'->>'variant' AS variant, description->>'privacy' AS privacy,
    description->>'settings' AS settings FROM fleet.devices WHERE device = %s
"""
_NEWEST_EVENT = """
SELECT at, received, clock_synced FROM fleet.events
    WHERE device = %s AND day = (SELECT max(day) FROM fleet.segments WHERE device = %s)
    ORDER BY received DESC, sequence DESC LIMIT 1
"""
_SOURCES = """
SELECT source, count(*) AS events, max(received) AS last,
    (array_agg(kind ORDER BY received DESC, sequence DESC)
        FILTER (WHERE kind IN ('source_lost', 'source_back')))[1] = 'source_lost' AS lost
    FROM fleet.events WHERE device = %s AND day >= (now() AT TIME ZONE 'UTC')::date - 1 GROUP BY source ORDER BY source
"""
_SESSIONS = """
SELECT session, min(day) AS first_day, max(day) AS last_day, stored AS events, last - stored AS dropped
    FROM fleet.sessions LEFT JOIN fleet.segments USING (device, session)
    WHERE device = %s GROUP BY session, stored, last ORDER BY last_day DESC NULLS LAST, session LIMIT 5
"""
_REJECTED = "SELECT reason, messages, last FROM fleet.rejected WHERE device = %s ORDER BY messages DESC, reason"


def list_devices(url: str) -> list[Row]:
    """Return the devices by name. Raises OutputError if the database cannot be read."""
    with _reading(url) as connection:
        return connection.execute(f"{_DEVICES} ORDER BY device").fetchall()


def show_device(url: str, device: str) -> Row:
    """Return what is known of ``device``: its row of ``list_devices`` and more.

    Raises:
        OutputError: if the database cannot be read.
        InputError: if it does not know the device.
    """
    with _reading(url) as connection:
        row: Row | None = connection.execute(f"{_DEVICES} WHERE device = %s", (device,)).fetchone()
        if row is None:
            raise InputError(f"{device}: unknown device; fer-edge fleet list shows all")
        about = connection.execute(_ABOUT, (device,)).fetchone()
        return {
            **row,
            **(about or {"variant": None, "privacy": None, "settings": None}),
            "newest_event": connection.execute(_NEWEST_EVENT, (device, device)).fetchone(),
            "sources": connection.execute(_SOURCES, (device,)).fetchall(),
            "sessions": connection.execute(_SESSIONS, (device,)).fetchall(),
            "rejected_by_reason": connection.execute(_REJECTED, (device,)).fetchall(),
        }


@contextmanager
def _reading(url: str) -> Iterator[psycopg.Connection[Row]]:
    try:
        with connect(url, row_factory=dict_row) as connection:
            yield connection
    except psycopg.errors.UndefinedTable:
        raise OutputError("--database: it has no table of fer-edge; run fer-edge fleet ingest with it first") from None
    except psycopg.Error as error:
        raise database_error(error) from None
