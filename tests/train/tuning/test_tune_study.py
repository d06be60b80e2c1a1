"""The study of a search as a file shared by several processes: damage, and the assignment of trials to workers."""

from __future__ import annotations

import math
import resource
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from optuna import TrialPruned
from optuna.storages import RetryHeartbeatStaleTrialCallback

from fer_edge.errors import ConfigError, InputError, OutputError
from fer_edge.settings.base import to_table
from fer_train.locks import FileLock, is_held
from fer_train.recipe.recipe import Recipe, load_recipe
from fer_train.tuning.command import LOCK
from fer_train.tuning.report import write_results
from fer_train.tuning.settings import Search, Values, from_table
from fer_train.tuning.storage import MAX_RETRIES, StudyLocation, check_same_search, create_study, open_study
from fer_train.tuning.trials import TRIALS, current_attempts, is_lost, number_of, suggest_values, take_back
from fer_train.tuning.worker import NotNeededError, Objective, run_trials

RANGES = {
    "loop.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "loop.batch_size": {"low": 16, "high": 64, "step": 16},
    "model.widths": {"choices": [[8, 8, 8], [16, 16, 16]]},
}


def search_of(ranges: dict[str, Any] = RANGES, **tune: Any) -> Search:
    return from_table(
        {**to_table(Recipe()), "tune": {"trials": 4, "startup_trials": 1, **tune, "ranges": ranges}}, "test"
    )


def study_in(out: Path, search: Search) -> StudyLocation:
    out.mkdir(parents=True, exist_ok=True)
    create_study(location := StudyLocation(out), search, "the data")
    return location


def begin(study: Any, search: Search, worker: str) -> tuple[Any, int, Values]:
    """Start the next trial; return Optuna's object, its number, its values."""
    trial = study.ask()
    trial.set_user_attr("worker", worker)
    number = number_of(study, trial)
    return trial, number, suggest_values(study, trial, search, number)


class Untrained(Objective):
    """An objective whose value is ``of(number, settings)``."""

    def __init__(self, location: StudyLocation, search: Search, of: Callable[[Any, int, Recipe], float]) -> None:
        nothing: Any = None
        super().__init__(open_study(location), search, nothing, None, location, "worker")
        self._of = of

    def train(self, trial: Any, number: int, recipe: Recipe) -> float:
        return self._of(trial, number, recipe)


def tenth(trial: Any, number: int, recipe: Recipe) -> float:
    trial.report(number / 10, step=1)
    return number / 10


def test_a_trial_that_takes_its_process_down_each_time_is_given_up(tmp_path: Path) -> None:
    search = search_of(trials=2)
    study = open_study(study_in(tmp_path / "out", search))
    for attempt in range(1 + MAX_RETRIES):
        assert begin(study, search, f"dies{attempt}")[1] == 1
        take_back(study, f"dies{attempt}", died=True)
    trial, number, _ = begin(study, search, "lives")
    assert number == 2
    study.tell(trial, 0.5)
    assert [attempt.state.name for attempt in current_attempts(study).values()] == ["FAIL", "COMPLETE"]
    assert not any(map(is_lost, current_attempts(study).values()))


def test_what_is_given_back_goes_on_in_its_folder_and_draws_nothing_anew(tmp_path: Path) -> None:
    search = search_of()
    queue, straight = (open_study(study_in(tmp_path / name, search)) for name in ("out", "other"))
    trial, number, values = begin(queue, search, "a")
    trial.report(0.3, step=1)
    take_back(queue, "a", died=False)
    again = begin(queue, search, "b")
    assert again[1:] == (number, values)
    # From there on, both searches draw the same values: the interruption has no effect.
    for number in (1, 2, 3):
        here = again if number == 1 else begin(queue, search, "b")
        there = begin(straight, search, "a")
        assert here[1:] == there[1:]
        queue.tell(here[0], number / 10)
        straight.tell(there[0], number / 10)


def test_a_search_that_is_stopped_often_does_not_give_its_trial_up(tmp_path: Path) -> None:
    search = search_of(trials=1)
    study = open_study(study_in(tmp_path, search))
    for _ in range(2 + MAX_RETRIES):
        assert begin(study, search, "a")[1] == 1
        take_back(study, "a", died=False)
    assert [attempt.state.name for attempt in current_attempts(study).values()] == ["WAITING"]


def test_a_trial_handed_out_twice_and_one_too_many_leave_no_trace(tmp_path: Path) -> None:
    search = search_of(trials=2)
    location = study_in(tmp_path, search)
    run_trials(Untrained(location, search, tenth))
    study = open_study(location)
    first = study.get_trials()[0]
    RetryHeartbeatStaleTrialCallback()(study, first)  # a retry of a trial that another worker has completed
    done: list[int] = []

    def noted(trial: Any, number: int, recipe: Recipe) -> float:
        done.append(number)
        return 0.0

    objective = Untrained(location, search, noted)
    study.optimize(objective, n_trials=2, catch=(NotNeededError,))  # the retry, and one after the last
    assert not done
    assert write_results(location, search).counts() == "2 trials: 2 done, 0 pruned"


def test_poor_trials_are_pruned_and_the_best_few_keep_their_networks(tmp_path: Path) -> None:
    search = search_of(keep=1)
    location = study_in(tmp_path / "out", search)
    expected = {1: (0.5, False), 2: (0.6, False), 3: (0.2, True), 4: (0.55, True)}

    def of(trial: Any, number: int, recipe: Recipe) -> float:
        value, poor = expected[number]
        folder = location.out / TRIALS / f"{number:04}"
        folder.mkdir(parents=True)
        for name in ("best.keras", "averaged.npz", "model.keras", "config.toml"):
            (folder / name).write_text("")
        trial.report(value / 2, step=1)
        assert not trial.should_prune()  # within tune.grace_epochs
        trial.report(value, step=2)
        cut = trial.should_prune()
        assert cut == (poor and value < 0.55)
        if cut:
            raise TrialPruned
        return value

    run_trials(Untrained(location, search, of))
    current = current_attempts(open_study(location))
    assert [attempt.state.name for attempt in current.values()] == ["COMPLETE", "COMPLETE", "PRUNED", "COMPLETE"]
    for name in ("best.keras", "averaged.npz", "model.keras"):
        assert [path.parent.name for path in location.out.glob(f"trials/*/{name}")] == ["0002"]
    assert len(list(location.out.glob("trials/*/config.toml"))) == 4


@pytest.mark.slow
def test_the_importance_of_settings_is_told_once_there_are_enough_trials(tmp_path: Path) -> None:
    search = search_of(trials=12, pruner="none", startup_trials=12)
    location = study_in(tmp_path / "out", search)
    out = location.out
    assert "no trial was completed" in write_results(location, search).text()

    def of(trial: Any, number: int, recipe: Recipe) -> float:
        value = 0.9 - abs(math.log10(recipe.loop.learning_rate) + 2) / 10
        trial.report(value, step=1)
        return value

    run_trials(Untrained(location, search, of))
    found = write_results(location, search)
    assert sum(found.importance.values()) == pytest.approx(1)
    assert (
        max(found.importance, key=found.importance.__getitem__) == "loop.learning_rate"
    )  # the other settings had no effect
    assert found.best is not None and found.best.value == max(row.value or 0 for row in found.rows)
    assert f"importance {found.importance['loop.learning_rate']:.2f}" in found.text()
    assert load_recipe(out / "best.toml").loop.learning_rate == found.best.values["loop.learning_rate"]
    assert len((out / "tune.csv").read_text().splitlines()) == 13


@pytest.mark.parametrize(
    ("theirs", "words"),
    [
        (
            search_of({**RANGES, "model.dropout": {"low": 0.0, "high": 0.5}}),
            ["tune.ranges.model.dropout", "unset here"],
        ),
        (search_of({**RANGES, "loop.batch_size": {"low": 16, "high": 32, "step": 16}}), ["high is 64", "32 there"]),
        (search_of(metric="cross_entropy"), ['tune.metric is "accuracy" here, "cross_entropy" there']),
    ],
)
def test_a_study_of_another_search_is_refused_with_what_differs(
    theirs: Search, words: list[str], tmp_path: Path
) -> None:
    path = study_in(tmp_path, theirs)
    with pytest.raises(ConfigError) as refused:
        check_same_search(path, open_study(path), search_of(), "the data")
    for word in (str(path), *words):
        assert word in str(refused.value)


def test_a_study_of_other_data_is_refused_and_more_trials_are_no_other_search(tmp_path: Path) -> None:
    path = study_in(tmp_path, search_of())
    check_same_search(path, open_study(path), search_of(trials=99, keep=9), "the data")
    with pytest.raises(ConfigError, match="rows_sha256"):
        check_same_search(path, open_study(path), search_of(), "other data")


def test_a_study_from_before_a_key_of_the_recipe_goes_on_while_that_has_its_default(tmp_path: Path) -> None:
    path = study_in(tmp_path, search_of())
    study = open_study(path)
    kept = study.user_attrs["search"]
    study.set_user_attr("search", {**kept, "loop": {k: v for k, v in kept["loop"].items() if k != "averaged_epochs"}})
    check_same_search(path, open_study(path), search_of(), "the data")
    changed = to_table(Recipe())
    changed["loop"]["averaged_epochs"] = 3
    other = from_table({**changed, "tune": search_of().to_table()["tune"]}, "test")
    with pytest.raises(ConfigError, match=r"loop.averaged_epochs is 3 here, 0 there"):
        check_same_search(path, open_study(path), other, "the data")
    study.set_user_attr("search", {**kept, "loop": {**kept["loop"], "of_old": 1}})
    with pytest.raises(ConfigError, match=r"loop.of_old is unset here, 1 there"):
        check_same_search(path, open_study(path), search_of(), "the data")


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "empty"),
        (b"no database, " * 100, "not a study"),
        (None, "missing"),
        (b"cut", "damaged"),
        (b"foreign", "without an Optuna study"),
    ],
)
def test_a_file_that_is_no_study_is_refused_and_left_alone(content: bytes | None, word: str, tmp_path: Path) -> None:
    location = study_in(tmp_path, search_of())
    path = location.path
    whole = path.read_bytes()
    path.unlink()
    if content == b"foreign":
        sqlite3.connect(path).execute("CREATE TABLE trials (x)").connection.close()
    elif content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == b"cut" else content)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(InputError, match=word) as refused:
        open_study(location)
    assert "\n" not in str(refused.value)
    assert (path.read_bytes() if path.exists() else None) == before


@pytest.mark.slow
def test_a_full_disk_and_a_folder_of_others_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        create_study(StudyLocation(tmp_path / "no folder"), search_of(), "the data")
    search = search_of()
    location = study_in(tmp_path / "out", search)
    objective = Untrained(location, search, tenth)
    # A limit on file size: SQLite's journal fails as on a full disk.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OutputError) as refused:
            run_trials(objective)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(refused.value)
    assert "--resume" in str(refused.value)
    run_trials(objective)
    assert write_results(location, search).counts() == "4 trials: 4 done, 0 pruned"  # nothing was lost


def test_a_lock_ends_with_its_process(tmp_path: Path) -> None:
    path = tmp_path / LOCK
    assert not is_held(path)
    holder = (
        "import sys; from pathlib import Path; from fer_train.locks import FileLock; "
        f"lock = FileLock(Path({str(path)!r})); print(lock.take(), flush=True); sys.stdin.read()"
    )
    process = subprocess.Popen([sys.executable, "-c", holder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "True\n"
    assert is_held(path)
    assert not FileLock(path).take()
    process.kill()
    process.communicate()
    assert not is_held(path)
