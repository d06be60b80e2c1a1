"""The dashboards of docs/grafana: each query runs on the real tables, and Grafana knows each key."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest

from fer_edge.sinks.event_json import encode_json
from fer_edge.types import EmotionEvent, EventKind
from fer_fleet.database import Database, refresh_hourly
from fer_fleet.messages import Rejected, parse
from support.servers.postgresql import PostgreSql

FOLDER = Path(__file__).parents[2] / "docs" / "grafana"
DASHBOARDS = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
QUERIES = [
    (f"{name}: {panel['title']}", target)
    for name, dashboard in DASHBOARDS.items()
    for panel in dashboard["panels"]
    for target in panel["targets"]
]
VARIABLES = [
    variable for dashboard in DASHBOARDS.values() for variable in dashboard["templating"]["list"]
    if variable["type"] == "query"
]  # fmt: skip
NOW = datetime.now(UTC)
GUIDE = (FOLDER.parent / "how-to" / "many-devices.md").read_text()


def expanded(query: str) -> str:
    """Replace macros and variables as Grafana's PostgreSQL data source does."""
    since, until = (f"'{at:%Y-%m-%dT%H:%M:%SZ}'" for at in (NOW - timedelta(days=1), NOW + timedelta(hours=1)))
    query = re.sub(r"\$__timeFilter\((\w+)\)", rf"\1 BETWEEN {since} AND {until}", query)
    for macro, value in {"$__timeFrom()": since, "$__interval": "1m", "${device:sqlstring}": "'door'"}.items():
        query = query.replace(macro, value)
    assert "$" not in query, query
    return query


@pytest.fixture(scope="module")
def filled(server: PostgreSql) -> Iterator[psycopg.Connection[Any]]:
    about = {"name": "door", "version": "0.1.0", "model": {"name": "s", "version": "1.4.0"}}
    given = [
        (EventKind.APPEARED, 1, {"track_id": 1}),
        (EventKind.CHANGED, 2, {"track_id": 1, "emotion": "happy", "previous": "sad", "confidence": 0.9}),
        (EventKind.HEARTBEAT, 9, {}),
    ]
    topics = {
        "availability": b"online",
        "$description": json.dumps(about).encode(),
        "state": b'{"fps": 15, "temperature": 61, "throttled": ["under-voltage"]}',
    }
    events = [
        encode_json(EmotionEvent(kind, "cam0", NOW.timestamp(), 1.0, session="s", sequence=number, **more))
        for kind, number, more in given
    ]
    published = [*topics.items(), *(("cam0/events", payload) for payload in events)]
    messages = [parse(f"fer-edge/door/{topic}", payload, NOW, base="fer-edge") for topic, payload in published]
    database = Database(server.url)
    database.store([*messages, Rejected("door", NOW, "invalid JSON")], NOW.date())
    database.close()
    refresh_hourly(server.url)
    with psycopg.connect(server.url, autocommit=True) as connection:
        yield connection
        connection.execute("DROP SCHEMA fleet CASCADE")


@pytest.mark.parametrize(("title", "target"), QUERIES, ids=[title for title, _ in QUERIES])
def test_each_query_runs_and_finds_what_is_there(
    filled: psycopg.Connection[Any], title: str, target: dict[str, Any]
) -> None:
    assert target.keys() == {"datasource", "refId", "rawQuery", "editorMode", "format", "rawSql"}
    assert target["rawQuery"] is True and target["datasource"]["uid"] == "${database}"
    cursor = filled.execute(expanded(target["rawSql"]))
    rows = cursor.fetchall()
    assert rows and all(any(value is not None for value in row) for row in rows)
    columns = [column.name for column in cursor.description or ()]
    if target["format"] == "time_series":
        assert columns == ["time", "metric", "value"]
        assert all(isinstance(time, datetime) and isinstance(metric, str) and value > 0 for time, metric, value in rows)
    else:
        assert target["format"] == "table" and len(set(columns)) == len(columns)


def test_each_override_names_a_column(filled: psycopg.Connection[Any]) -> None:
    for dashboard in DASHBOARDS.values():
        for panel in dashboard["panels"]:
            columns = filled.execute(expanded(panel["targets"][0]["rawSql"])).description or ()
            named = {override["matcher"]["options"] for override in panel["fieldConfig"]["overrides"]}
            assert named <= {column.name for column in columns}


def test_each_variable_has_values(filled: psycopg.Connection[Any]) -> None:
    assert [filled.execute(expanded(variable["query"])).fetchall() for variable in VARIABLES] == [[("door",)]]


def test_the_user_of_the_guide_reads_all_days_and_changes_nothing(
    filled: psycopg.Connection[Any], server: PostgreSql
) -> None:
    (grants,) = re.findall(r"^```sql\n(.*?)^```", GUIDE, re.MULTILINE | re.DOTALL)
    filled.execute(grants.replace("'…'", "'secret'"))
    tomorrow = NOW + timedelta(days=1)
    later = EmotionEvent(EventKind.HEARTBEAT, "cam0", NOW.timestamp(), 1.0, session="s", sequence=10)
    database = Database(server.url)
    database.store([parse("fer-edge/door/cam0/events", encode_json(later), tomorrow, base="fer-edge")], tomorrow.date())
    database.close()
    with psycopg.connect(server.url.replace("//fer@", "//grafana@"), autocommit=True) as reader:
        for _, target in QUERIES:
            reader.execute(expanded(target["rawSql"]))
        days = reader.execute("SELECT count(DISTINCT day) FROM fleet.events").fetchall()
        assert days == [(2,)]
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            reader.execute("DELETE FROM fleet.events")
    filled.execute("DROP OWNED BY grafana; DROP ROLE grafana")


def test_links_lead_to_the_other_dashboard() -> None:
    links = {link for dashboard in DASHBOARDS.values() for link in re.findall(r'"/d/([\w-]+)', json.dumps(dashboard))}
    assert links == {dashboard["uid"] for dashboard in DASHBOARDS.values()}


def test_panels_do_not_overlap() -> None:
    for dashboard in DASHBOARDS.values():
        cells = [
            (x, y)
            for place in (panel["gridPos"] for panel in dashboard["panels"])
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        ]
        assert len(cells) == len(set(cells)) and max(x for x, _ in cells) == 23
        assert len({panel["id"] for panel in dashboard["panels"]}) == len(dashboard["panels"])


@pytest.mark.parametrize("name", DASHBOARDS)
def test_grafana_knows_each_key(name: str) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    from support.results.dashboards import problems

    assert problems(DASHBOARDS[name]) == []


@pytest.mark.parametrize(
    ("path", "value", "problem"),
    [
        (("titel",), "x", "/titel: unknown key"),
        (("panels", 3, "fieldConfig", "defaults", "custom", "drawStile"), "bars", "unknown key"),
        (("panels", 3, "fieldConfig", "defaults", "custom", "drawStyle"), "crayon", "'crayon' is not"),
        (("panels", 0, "gridPos", "w"), "3", "'3' is not"),
    ],
)
def test_a_mistake_in_a_dashboard_is_found(path: tuple[str | int, ...], value: object, problem: str) -> None:
    pytest.importorskip("grafana_foundation_sdk")
    from support.results.dashboards import problems

    wrong: Any = json.loads(json.dumps(DASHBOARDS["fleet"]))
    inner = wrong
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = value
    assert any(problem in line for line in problems(wrong))
