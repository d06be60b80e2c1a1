"""The database of a fleet: store batches of messages, delete old events."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
from msgspec import UNSET
from psycopg import sql

from fer_edge.errors import OutputError
from fer_fleet import tables
from fer_fleet.connection import connect
from fer_fleet.messages import Event, Message, Rejected, State, Status

_LOCK = 0x666C656574
"""Advisory lock of the one process that writes: 'fleet' in ASCII."""


class Database:
    """A connection to the database ``url``, whose tables are created if they are missing.

    Raises:
        psycopg.Error: from all methods, if the server cannot be reached or refuses.
        OutputError: if another process is writing.
    """

    def __init__(self, url: str) -> None:
        self._connection = connect(url, autocommit=True)
        try:
            row = self._connection.execute("SELECT pg_try_advisory_lock(%s)", (_LOCK,)).fetchone()
            if row != (True,):
                raise OutputError("--database: another fer-edge fleet ingest writes to this database; stop that one")
            self._connection.execute("SET client_min_messages = warning")
            with self._connection.transaction():
                self._connection.execute(tables.TABLES)
            self._connection.execute(tables.INCOMING)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection. Idempotent."""
        self._connection.close()

    def store(self, messages: Sequence[Message], today: date) -> None:
        """Store ``messages`` in one transaction. Events that are there already are skipped.

        What the server refuses, such as text that its encoding does not have, is counted as rejected.
        """
        try:
            with self._connection.transaction():
                self._store(messages, today)
        except (psycopg.DataError, psycopg.IntegrityError):
            if len(messages) > 1:
                half = len(messages) // 2
                self.store(messages[:half], today)
                self.store(messages[half:], today)
                return
            if isinstance(messages[0], Rejected):
                raise
            self.store([Rejected(messages[0].device, messages[0].received, "refused by the database")], today)

    def _store(self, messages: Sequence[Message], today: date) -> None:
        events = [message for message in messages if isinstance(message, Event)]
        with self._connection.cursor() as cursor:
            refused = self._store_events(cursor, events, today) if events else []
            _set_rows(cursor, tables.SET_DEVICES, _devices(messages))
            _set_rows(cursor, tables.SET_STATES, _states(messages))
            rejected = [message for message in messages if isinstance(message, Rejected)]
            counts = Counter((message.device, message.reason) for message in rejected)
            last = {(message.device, message.reason): message.received for message in rejected}
            refused += [(*key, number, last[key]) for key, number in sorted(counts.items())]
            _set_rows(cursor, tables.ADD_REJECTED, refused)

    def _store_events(
        self, cursor: psycopg.Cursor[Any], events: Sequence[Event], today: date
    ) -> list[tuple[str, str, int, datetime]]:
        """Store ``events``; return device, reason, number and last time of those that the tables refuse."""
        columns = sql.SQL(", ").join(map(sql.Identifier, tables.COLUMNS))
        with cursor.copy(sql.SQL("COPY incoming ({}) FROM STDIN").format(columns)) as copy:
            for event in events:
                copy.write_row(_row(event))
        cursor.execute(tables.ADD_SESSIONS)
        cursor.execute(tables.LOCK_SESSIONS)
        cursor.execute(tables.ADD_SEGMENTS, (today,))
        for day in {row[0] for row in cursor.fetchall()}:
            _add_partition(cursor, day)
        cursor.execute(tables.SET_DAYS)
        cursor.execute(tables.STORE)
        if sum(row[0] for row in cursor.fetchall()) == len(events):
            return []
        refused = []
        for reason, query in (("expired", tables.EXPIRED), ("number used twice", tables.USED_TWICE)):
            cursor.execute(query)
            refused += [(device, reason, number, received) for device, received, number in cursor.fetchall()]
        return refused

    def delete_before(self, day: date) -> list[str]:
        """Delete the events of the days before ``day``; return the names of the tables that held them."""
        names = [name for (name,) in self._connection.execute(tables.PARTITIONS).fetchall()]
        old = [name for name in names if re.fullmatch(r"events_\d{8}", name) and name < _partition(day)]
        for name in old:
            with self._connection.transaction():
                # Together: without its segment, a number of this table counts as expired when it arrives again.
                self._connection.execute(
                    "DELETE FROM fleet.segments WHERE day = to_date(%s, 'YYYYMMDD')", (name.removeprefix("events_"),)
                )
                self._connection.execute(sql.SQL("DROP TABLE fleet.{}").format(sql.Identifier(name)))
        return old


def refresh_hourly(url: str) -> None:
    """Compute the aggregates by hour again, without blocking those who read them."""
    with connect(url, autocommit=True) as connection:
        connection.execute("REFRESH MATERIALIZED VIEW CONCURRENTLY fleet.hourly")


def utc_today() -> date:
    """Return the day in UTC."""
    return datetime.now(UTC).date()


def first_day_kept(days: int) -> date:
    """Return the first of the last ``days`` full days and today."""
    return utc_today() - timedelta(days=days)


def _partition(day: date) -> str:
    return f"events_{day:%Y%m%d}"


def _add_partition(cursor: psycopg.Cursor[Any], day: date) -> None:
    name = sql.Identifier("fleet", _partition(day))
    cursor.execute("SELECT to_regclass(%s)", (f"fleet.{_partition(day)}",))
    if cursor.fetchone() != (None,):
        return
    # Not CREATE TABLE … PARTITION OF: that would wait for everyone who reads the events.
    cursor.execute(sql.SQL("CREATE TABLE {} (LIKE fleet.events INCLUDING ALL)").format(name))
    bounds = sql.SQL("({}) TO ({})").format(sql.Literal(day), sql.Literal(day + timedelta(days=1)))
    cursor.execute(sql.SQL("ALTER TABLE fleet.events ATTACH PARTITION {} FOR VALUES FROM {}").format(name, bounds))


def _devices(messages: Sequence[Message]) -> list[tuple[str, bool | None, str | None, datetime | None]]:
    """Return device, online, description and seen of each device; in order, so that writers cannot deadlock."""
    merged: dict[str, tuple[bool | None, str | None, datetime | None]] = {}
    for message in messages:
        if isinstance(message, Rejected):
            continue
        online, description, seen = merged.get(message.device, (None, None, None))
        if isinstance(message, Status):
            online = online if message.online is None else message.online
            description = description if message.description is None else message.description
        if isinstance(message, Event) or message.live:  # a retained message says nothing about now
            seen = message.received
        merged[message.device] = online, description, seen
    return [(device, *merged[device]) for device in sorted(merged)]


def _states(messages: Sequence[Message]) -> list[tuple[str, datetime, float, float | None, str]]:
    newest = {message.device: message for message in messages if isinstance(message, State)}
    return [
        (device, state.received, state.content.fps, state.content.temperature, ", ".join(state.content.throttled))
        for device, state in sorted(newest.items())
    ]


def _set_rows(cursor: psycopg.Cursor[Any], statement: str, rows: Sequence[tuple[object, ...]]) -> None:
    """Run ``statement``, which takes a list for each column: one statement for a batch, not one for each device."""
    if rows:
        cursor.execute(statement, [list(column) for column in zip(*rows, strict=True)])


def _row(event: Event) -> tuple[object, ...]:
    content = event.content
    own = {"device": event.device, "received": event.received, "at": event.at, "counts": event.counts}
    own["kind"] = content.kind.value
    values = (own.get(name, getattr(content, name, None)) for name in tables.COLUMNS)
    return tuple(None if value is UNSET else value for value in values)
