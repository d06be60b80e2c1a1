"""What is read from the database: ``fleet show``, ``top``, ``targets``."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from fer_edge.commands.cli import main
from fer_edge.sinks.event_json import encode_json, json_bytes
from fer_edge.sinks.mqtt.topics import Topics
from fer_edge.status import ChipStatus, StatusBoard
from fer_edge.types import EmotionEvent, EventKind
from fer_fleet.database import Database
from fer_fleet.messages import Message, Rejected, State, parse
from fer_fleet.report.queries import list_devices
from fer_fleet.report.top import top
from support.servers.loopback import free_port

DAY = datetime.now(UTC).date()
RECEIVED = datetime.now(UTC)


def message(device: str, topic: str, payload: bytes, *, live: bool = True) -> Message:
    return parse(f"fer-edge/{device}/{topic}", payload, RECEIVED, base="fer-edge", live=live)


def event(device: str, number: int, kind: EventKind = EventKind.CHANGED, at: float = 1.7e9, **more: Any) -> Message:
    given = EmotionEvent(kind, "cam0", at, 1.0, session=f"run of {device}", sequence=number, **more)
    return message(device, "cam0/events", encode_json(given))


def state(device: str, temperature: float | None, *throttled: str) -> Message:
    board = StatusBoard()
    board.set_chip(ChipStatus(temperature_c=temperature, throttled=throttled))
    payload = Topics("fer-edge", device, aggregate=False).states(board.snapshot())[f"fer-edge/{device}/state"]
    return message(device, "state", json_bytes(payload))


@pytest.fixture
def opened(database: str) -> Iterator[Database]:
    connection = Database(database)
    connection.store(
        [
            message("door", "availability", b"online"),
            message("door", "$description", json.dumps({"name": "door", "version": "0.1.0", "privacy": "events",
                    "settings": "5f0c", "model": {"name": "s", "version": "1.4.0", "variant": "int8"}}).encode()),
            state("door", 61.4, "under-voltage"),
            event("door", 1, track_id=1, emotion="happy"),
            event("door", 4, EventKind.SOURCE_LOST, at=0.0, reason="unplugged"),
            message("yard", "availability", b"offline"),
            state("yard", None),
            *(event("yard", number) for number in range(1, 4)),
            Rejected("yard", RECEIVED, "rate limit"),
            Rejected("yard", RECEIVED, "rate limit"),
            Rejected("yard", RECEIVED, "invalid JSON"),
        ],
        DAY,
    )  # fmt: skip
    yield connection
    connection.close()


def output(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["fleet", *words]) == 0
    return capsys.readouterr().out


def test_show_has_all_that_is_known(opened: Database, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = output(capsys, "show", "door", "--database", database)
    facts = dict(line.split("  ", 1) for line in text.partition("\n\n")[0].splitlines())
    assert {name: fact.strip() for name, fact in facts.items()} == {
        "device": "door", "online": "yes", "last seen": f"{RECEIVED:%Y-%m-%d %H:%M:%SZ}", "version": "0.1.0",
        "model": "s 1.4.0", "variant": "int8", "privacy": "events", "settings": "5f0c", "fps": "0",
        "temperature": "61 °C", "throttled": "under-voltage", "events": "2", "dropped": "2", "rejected": "0",
        "newest event": facts["newest event"].strip(),
    }  # fmt: skip
    assert "at 1970-01-01 00:00:00Z by its own clock" in facts["newest event"]
    tables = text.partition("\n\n")[2]
    assert [line.split()[0] for line in tables.splitlines() if line] == ["Sources,", "source", "cam0", "Newest",
                                                                        "session", "run"]  # fmt: skip
    assert tables.splitlines()[2].split()[-1] == "yes"  # the source is lost
    rejected = output(capsys, "show", "yard", "--database", database).rpartition("Rejected messages\n")[2]
    assert [line.split()[:3] for line in rejected.splitlines()[1:]] == [
        ["rate", "limit", "2"],
        ["invalid", "JSON", "1"],
    ]
    shown = json.loads(output(capsys, "show", "yard", "--database", database, "--json"))
    assert (shown["limited"], shown["rejected"], shown["temperature"], shown["online"]) == (2, 3, None, False)


def test_show_of_an_unknown_device_is_one_line(
    opened: Database, database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fleet", "show", "hall", "--database", database]) == 2
    assert capsys.readouterr().err == ("fer-edge: hall: unknown device; fer-edge fleet list shows all\n")


def test_the_newest_state_counts(opened: Database, database: str) -> None:
    opened.store([state("door", 50.0), state("door", 70.0), event("door", 5)], DAY)
    opened.store([state("yard", 40.0, "throttled", "soft-temperature-limit")], DAY)
    found = {row["device"]: (row["temperature"], row["throttled"]) for row in list_devices(database)}
    assert found == {"door": (70.0, ""), "yard": (40.0, "throttled, soft-temperature-limit")}


def test_a_retained_state_does_not_show_that_a_device_was_heard(opened: Database, database: str) -> None:
    opened.store([message("hall", "state", b'{"fps": 1, "temperature": 1, "throttled": []}', live=False)], DAY)
    (hall,) = (row for row in list_devices(database) if row["device"] == "hall")
    assert (hall["seen"], hall["fps"]) == (None, 1.0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"{",
        b'{"fps": 1}',
        b'{"fps": -1, "temperature": 1, "throttled": []}',
        b'{"fps": 1, "temperature": 1e9, "throttled": []}',
        b'{"fps": 1, "temperature": 1, "throttled": ["\\u0000"]}',
        b'{"fps": 1, "temperature": 1, "throttled": [7]}',
    ],
)
def test_a_bad_state_is_rejected(payload: bytes) -> None:
    assert isinstance(message("door", "state", payload), Rejected)
    assert isinstance(message("door", "state", b'{"fps": 1, "temperature": null, "throttled": ["hot"]}'), State)


def test_top_shows_rates_and_sorts(opened: Database, database: str, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = iter(range(10, 100))

    def read() -> list[dict[str, Any]]:
        opened.store([event("door", next(numbers)) for _ in range(5)], DAY)
        return list_devices(database)

    top(read, "rate", 1, 0.5, 2)
    first, second = capsys.readouterr().out.rstrip("\n").split("\n\n")
    for text in (first, second):
        head, headings, row = text.splitlines()
        assert "2 devices, 1 online; " in head and ", 2 limited, 3 rejected" in head
        rate = float(row.split()[headings.split().index("events/s")])
        assert row.startswith("door") and 0 < rate <= 10.0
    shown = output(capsys, "top", "--database", database, "--sort", "rejected", "--every", "0.1", "--count", "1")
    assert [line.split()[0] for line in shown.splitlines()[1:]] == ["device", "yard", "door"]


def test_prometheus_finds_the_devices(
    opened: Database, database: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    opened.store([message("the hall", "availability", b"online")], DAY)
    path = tmp_path / "fer-edge.json"
    words = ("--database", database, "--out", str(path))
    assert main(["fleet", "targets", *words]) == 0
    assert capsys.readouterr().err == "fer-edge: left out, because their names are not host names: the hall\n"
    expected = {"door": "door.local:8080", "yard": "yard.local:8080"}
    assert json.loads(path.read_text()) == [
        {"targets": [address], "labels": {"device": device}} for device, address in expected.items()
    ]
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
    for address in ("door:80", "{device}", "{device}:http", "http://{device}:80/", "{device} x:80"):
        assert main(["fleet", "targets", *words, "--address", address]) == 2
        assert "--address: must be HOST:PORT with {device}" in capsys.readouterr().err
    assert main(["fleet", "targets", *words[:2], "--out", str(tmp_path / "targets.txt")]) == 2
    if shutil.which("promtool") is None:
        pytest.skip("the rest needs promtool: apt-get install prometheus")
    config = tmp_path / "prometheus.yml"
    config.write_text(f"scrape_configs: [{{job_name: fer-edge, file_sd_configs: [{{files: [{path}]}}]}}]\n")
    checked = subprocess.run(
        ["promtool", "check", "service-discovery", "--timeout", "10s", config, "fer-edge"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = [one["labels"] for one in json.loads(checked.stdout)]
    assert {one["device"]: one["__address__"] for one in found} == expected


def test_a_database_that_is_away_is_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    away = ("--database", f"postgresql://nobody@127.0.0.1:{free_port()}/none")
    for words in (("show", "door"), ("top",), ("targets", "--out", str(tmp_path / "x.json"))):
        assert main(["fleet", *words, *away]) == 6
        line = capsys.readouterr().err
        assert line.startswith("fer-edge: --database: cannot use it") and line.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
