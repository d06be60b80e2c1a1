"""The benchmark of a fleet (``make bench-fleet``) in short, and that it notices what goes wrong."""

from __future__ import annotations

import doctest
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fer_edge.sinks.event_json import encode_json
from fer_fleet.database import Database
from fer_fleet.messages import parse
from fleet_load import report
from support.processes.edge_command import clean_environment
from support.processes.fleet_ingest import event
from support.servers.mosquitto import needs_mosquitto
from support.servers.nats import needs_nats

TESTS = Path(__file__).parents[1]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("broker", "fails", "result"),
    [
        pytest.param("mosquitto", "the broker is restarted", "stored once, and in order", marks=needs_mosquitto),
        pytest.param("nats", "the broker is killed (SIGKILL)", "stored once", marks=needs_nats),
    ],
)
def test_a_short_run_loses_nothing(broker: str, fails: str, result: str) -> None:
    words = [sys.executable, "-m", "fleet_load", "--broker", broker, "--devices", "20", "--minutes", "0.2", "--rate=1"]
    environment = {**clean_environment(), "PYTHONPATH": str(TESTS)}
    done = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert all(outage in done.stdout for outage in ("the consumer is killed", "PostgreSQL crashes", fails))
    assert done.stdout.endswith(f"each event is {result}\n")
    assert "from event to commit, with outages: median " in done.stdout and "Breaks first: " in done.stdout


def test_a_loss_and_a_wrong_order_are_noticed(database: str) -> None:
    opened, now = Database(database), datetime.now(UTC)
    for number, later_s in ((1, 2), (2, 1), (4, 3)):
        received = now + timedelta(seconds=later_s)
        message = parse("fer-edge/door/cam0/events", encode_json(event(number)), received, base="fer-edge")
        opened.store([message], now.date())
    opened.close()
    assert report.faults(database, {"door": 4}) == ["1 events of 1 devices are missing"]
    assert report.faults(database, {"door": 3}) == ["door: a number that it did not send"]
    assert report.disorder(database) == 1


def test_the_example_of_the_calculation_runs() -> None:
    failed, run = doctest.testmod(report)
    assert (failed, run > 0) == (0, True)
