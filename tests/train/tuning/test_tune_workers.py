"""Workers of a search that are killed, with the study in SQLite and in PostgreSQL."""

from __future__ import annotations

import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fer_edge.errors import ConfigError, OutputError
from fer_edge.settings.base import to_table
from fer_train.recipe.recipe import Recipe
from fer_train.tuning.report import write_results
from fer_train.tuning.settings import Search, from_table
from fer_train.tuning.storage import (
    StudyLocation,
    check_same_search,
    create_study,
    open_study,
    postgresql_location,
    study_exists,
)
from fer_train.tuning.trials import attempts_by_number, current_attempts
from support.servers.postgresql import postgresql

TRIALS = 8
SEARCH = from_table(
    {
        **to_table(Recipe()),
        "tune": {
            "trials": TRIALS,
            "startup_trials": 1,
            "pruner": "none",
            "ranges": {"loop.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True}},
        },
    },
    "test",
)


@pytest.fixture(params=["sqlite", "postgresql"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[StudyLocation]:
    if request.param == "sqlite":
        yield StudyLocation(tmp_path)
        return
    with postgresql() as url:
        yield postgresql_location(tmp_path, url, "killed")


def start(location: StudyLocation, name: str, search: Search = SEARCH) -> subprocess.Popen[str]:
    script = Path(__file__).with_name("tune_worker.py")
    words = [sys.executable, str(script), str(location.out), location.url or "", name, json.dumps(search.to_table())]
    if location.url:
        words.append(location.study_name)
    return subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def killed(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


@pytest.mark.slow
def test_the_trial_of_a_killed_worker_runs_again_in_another(location: StudyLocation) -> None:
    create_study(location, SEARCH, "the data")
    hangs = start(location, "hangs")
    assert hangs.stdout is not None
    theirs = int(hangs.stdout.readline())
    killed(hangs)
    workers = [start(location, name) for name in ("one", "two")]
    begun = []
    for worker in workers:
        printed, _ = worker.communicate(timeout=300)
        assert worker.returncode == 0
        begun += [int(word) for word in printed.split()]
    assert sorted(begun) == list(range(1, TRIALS + 1))  # each once, also the trial of the killed worker
    attempts = attempts_by_number(open_study(location))
    assert [attempt.state.name for attempt in attempts[theirs]] == ["FAIL", "COMPLETE"]
    assert attempts[theirs][0].params == attempts[theirs][1].params
    found = write_results(location, SEARCH)
    assert found.counts() == "8 trials: 8 done, 0 pruned"
    assert found.best is not None and found.best.number == TRIALS


@pytest.mark.slow
def test_workers_killed_at_any_moment_lose_nothing(location: StudyLocation) -> None:
    create_study(location, SEARCH, "the data")
    stays = start(location, "stays")
    moments = random.Random(1)
    for number in range(2):
        other = start(location, f"killed {number}")
        assert other.stdout is not None
        other.stdout.readline()
        time.sleep(moments.uniform(0, 0.4))
        killed(other)
    stays.communicate(timeout=300)
    assert stays.returncode == 0
    current = current_attempts(open_study(location))
    states = {number: attempt.state.name for number, attempt in current.items() if number <= TRIALS}
    assert states == dict.fromkeys(range(1, TRIALS + 1), "COMPLETE")


@pytest.mark.slow
def test_a_worker_killed_before_its_first_heartbeat_loses_nothing(location: StudyLocation) -> None:
    """Optuna itself never treats such a trial as stale."""
    create_study(location, SEARCH, "the data")
    open_study(location).ask()
    worker = start(location, "one")
    printed, _ = worker.communicate(timeout=300)
    assert worker.returncode == 0
    assert sorted(int(word) for word in printed.split()) == list(range(1, TRIALS + 1))


def test_a_database_is_created_once_and_an_unreachable_one_is_one_line(location: StudyLocation) -> None:
    assert not study_exists(location)
    create_study(location, SEARCH, "the data")
    assert study_exists(location)
    with pytest.raises(ConfigError, match="rows_sha256"):
        check_same_search(location, open_study(location), SEARCH, "other data")


def test_a_storage_that_cannot_be_used_is_one_line_without_its_password(tmp_path: Path) -> None:
    for url in ("mysql://a/b", "postgresql://host", "nothing"):
        with pytest.raises(ConfigError, match="--storage: must be postgresql://"):
            postgresql_location(tmp_path, url, "recipe")
    there = postgresql_location(tmp_path, "postgresql://user:secret@127.0.0.1:9/study", "recipe")
    with pytest.raises(OutputError) as refused:
        study_exists(there)
    assert "\n" not in str(refused.value) and "secret" not in str(refused.value)
    assert "127.0.0.1:9/study" in str(refused.value)
