"""Each event is stored once, on a day that never changes, and is deleted with that day."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any

import psycopg
import pytest

from fer_edge.errors import ConfigError, OutputError
from fer_edge.sinks.event_json import encode_json
from fer_edge.types import EmotionEvent, EventKind, FaceCounts
from fer_fleet.connection import check_url
from fer_fleet.database import Database, refresh_hourly
from fer_fleet.messages import Message, Rejected, Status, parse
from fer_fleet.report.queries import list_devices

DAY = date(2026, 3, 1)
RECEIVED = datetime(2026, 3, 1, 12, tzinfo=UTC)


def event(
    sequence: int, session: str = "s", device: str = "door", *, at: float = 1.7e9, source: str = "cam0"
) -> Message:
    payload = encode_json(
        EmotionEvent(EventKind.CHANGED, source, at, 1.0, 1, "happy", "sad", 0.5, session=session, sequence=sequence)
    )
    return parse(f"fer-edge/{device}/cam0/events", payload, RECEIVED, base="fer-edge")


def read(url: str, query: str) -> list[Any]:
    with psycopg.connect(url) as connection:
        return connection.execute(query).fetchall()


def stored(url: str) -> list[tuple[date, int]]:
    return read(url, "SELECT day, sequence FROM fleet.events ORDER BY sequence")


@pytest.fixture
def opened(database: str) -> Iterator[Database]:
    connection = Database(database)
    yield connection
    connection.close()


def test_an_event_that_arrives_again_is_stored_once(opened: Database, database: str) -> None:
    opened.store([event(1), event(2), event(2)], DAY)
    opened.store([event(2), event(3), event(1)], DAY)
    assert stored(database) == [(DAY, 1), (DAY, 2), (DAY, 3)]
    (device,) = list_devices(database)
    assert (device["device"], device["events"], device["dropped"]) == ("door", 3, 0)


def test_an_event_that_arrives_again_a_month_later_meets_its_first_copy(opened: Database, database: str) -> None:
    later = DAY + timedelta(days=30)
    opened.store([event(1), event(3)], DAY)
    opened.store([event(1), event(3), event(2), event(4)], later)
    opened.store([event(4), event(1)], later + timedelta(days=1))
    assert stored(database) == [(DAY, 1), (DAY, 2), (DAY, 3), (later, 4)]


def test_a_clock_set_back_changes_no_day(opened: Database, database: str) -> None:
    opened.store([event(1)], DAY)
    opened.store([event(2)], DAY - timedelta(days=9))
    opened.store([event(1), event(2), event(3)], DAY + timedelta(days=1))
    assert stored(database) == [(DAY, 1), (DAY, 2), (DAY + timedelta(days=1), 3)]


def test_deleted_days_stay_deleted(opened: Database, database: str) -> None:
    opened.store([event(1), event(2)], DAY)
    opened.store([event(3)], DAY + timedelta(days=1))
    assert opened.delete_before(DAY + timedelta(days=1)) == ["events_20260301"]
    opened.store([event(2), event(3), event(4)], DAY + timedelta(days=2))
    assert [sequence for _, sequence in stored(database)] == [3, 4]
    assert read(database, "SELECT reason, messages FROM fleet.rejected") == [("expired", 1)]
    (device,) = list_devices(database)
    assert (device["events"], device["dropped"], device["rejected"]) == (4, 0, 1)


def test_missing_numbers_are_events_that_the_device_dropped(opened: Database, database: str) -> None:
    opened.store([event(1), event(2), event(9)], DAY)
    opened.store([event(1, "another run")], DAY)
    (device,) = list_devices(database)
    assert (device["events"], device["dropped"]) == (4, 6)


def test_sessions_of_the_same_name_on_two_devices_are_two(opened: Database, database: str) -> None:
    opened.store([event(1), event(1, device="yard")], DAY)
    assert [device["events"] for device in list_devices(database)] == [1, 1]


@pytest.mark.parametrize("at", [datetime(1970, 1, 1, tzinfo=UTC), datetime(9999, 12, 31, 23, 59, tzinfo=UTC)])
def test_a_device_with_a_wrong_clock_is_stored_with_both_times(opened: Database, database: str, at: datetime) -> None:
    opened.store([event(1, at=at.timestamp())], DAY)
    assert read(database, "SELECT at, received, day FROM fleet.events") == [(at, RECEIVED, DAY)]


def test_a_session_that_two_programs_use_is_counted(opened: Database, database: str) -> None:
    opened.store([event(1), event(2)], DAY)
    opened.store([event(2), event(2, at=1.8e9), event(3), event(3, at=1.8e9)], DAY)
    assert read(database, "SELECT sequence, at < '2027-01-01' FROM fleet.events ORDER BY 1") == [
        (1, True), (2, True), (3, True)
    ]  # fmt: skip
    assert read(database, "SELECT device, reason, messages FROM fleet.rejected") == [("door", "number used twice", 2)]


def test_what_the_server_refuses_does_not_stop_the_rest(opened: Database, database: str) -> None:
    odd = Status("yard", RECEIVED, live=True, description="not JSON")
    batch: Sequence[Message] = [event(1), odd, event(2), Rejected("hall", RECEIVED, "no session")]
    opened.store(batch, DAY)
    assert [sequence for _, sequence in stored(database)] == [1, 2]
    counted = read(database, "SELECT device, reason, messages FROM fleet.rejected ORDER BY device")
    assert counted == [("hall", "no session", 1), ("yard", "refused by the database", 1)]


def test_counts_are_stored_without_faces_and_summed_by_hour(opened: Database, database: str) -> None:
    counts = FaceCounts(60.0, 5, 2, {"happy": 10.0}, {})
    payload = encode_json(EmotionEvent(EventKind.COUNTS, "cam0", 1.7e9, 1.0, counts=counts, session="s", sequence=1))
    opened.store([parse("fer-edge/door/cam0/events", payload, RECEIVED, base="fer-edge"), event(2)], DAY)
    row = read(
        database, "SELECT track, emotion, confidence, counts->'emotion_s' FROM fleet.events WHERE kind = 'counts'"
    )
    assert row == [(None, None, None, {"happy": 10.0})]
    refresh_hourly(database)
    hours = read(database, "SELECT hour, kind, emotion, events, appeared FROM fleet.hourly ORDER BY kind")
    noon = RECEIVED.replace(minute=0)
    assert hours == [(noon, "changed", "happy", 1, None), (noon, "counts", "", 1, 5)]


def test_only_one_process_writes(opened: Database, database: str) -> None:
    with pytest.raises(OutputError, match="another fer-edge fleet ingest"):
        Database(database)


def test_a_database_that_cannot_be_used_is_one_line(database: str) -> None:
    for url in ("mysql://a/b", "postgresql://host", "dbname=x", "nothing"):
        with pytest.raises(ConfigError, match="--database: must be postgresql://"):
            check_url(url)
    with pytest.raises(OutputError, match="--database: cannot use it") as caught:
        list_devices("postgresql://user:secret@127.0.0.1:9/study")
    assert "secret" not in str(caught.value) and "\n" not in str(caught.value)
    with pytest.raises(OutputError, match="run fer-edge fleet ingest"):
        list_devices(database)
