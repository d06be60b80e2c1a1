"""The study of a search as a file that several processes share, damage to it, and who gets which trial."""

from __future__ import annotations

import json
import math
import resource
import signal
import sqlite3
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fer_edge.errors import ConfigError, InputError, OutputError
from fer_edge.settings.base import to_table
from fer_train.config import Recipe, load_recipe
from fer_train.locks import FileLock, is_held
from fer_train.run_folder import STUDY
from fer_train.tuning.report import write_results
from fer_train.tuning.settings import Search, from_table
from fer_train.tuning.study_file import check_same_search, create_study, open_study
from fer_train.tuning.trials import LOCK, MOST_DEATHS, TRIALS, WORKERS, TrialQueue, latest_attempts

RANGES = {
    "loop.learning_rate": {"low": 1e-4, "high": 1e-1, "log": True},
    "loop.batch_size": {"low": 16, "high": 64, "step": 16},
    "model.widths": {"choices": [[8, 8, 8], [16, 16, 16]]},
}


def search_of(ranges: dict[str, Any] = RANGES, **tune: Any) -> Search:
    return from_table(
        {**to_table(Recipe()), "tune": {"trials": 4, "startup_trials": 1, **tune, "ranges": ranges}}, "test"
    )


def study_in(out: Path, search: Search) -> Path:
    (out / WORKERS).mkdir(parents=True)
    create_study(out / STUDY, search, "the data")
    return out


def worker_at(out: Path, search: Search, name: str) -> tuple[TrialQueue, FileLock]:
    lock = FileLock(out / WORKERS / f"{name}.lock")
    assert lock.take()
    return TrialQueue(out, search, name), lock


WORKER = """
import json, sys
from pathlib import Path
from fer_train.locks import FileLock
from fer_train.tuning.settings import from_table
from fer_train.tuning.trials import TrialQueue, WORKERS
out, name, search = Path(sys.argv[1]), sys.argv[2], from_table(json.loads(sys.argv[3]), "test")
lock = FileLock(out / WORKERS / f"{name}.lock")
assert lock.take()
queue = TrialQueue(out, search, name)
while claim := queue.claim():
    print(claim.number, flush=True)
    if name == "hangs":
        sys.stdin.read()
    queue.report(claim, 1, 0.5)
    queue.finish(claim, "COMPLETE", claim.number / 100)
"""


def start(out: Path, search: Search, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WORKER, str(out), name, json.dumps(search.to_table())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def test_processes_share_the_trials_and_the_one_of_a_killed_process_is_done_by_another(tmp_path: Path) -> None:
    search = search_of(trials=8)
    out = study_in(tmp_path / "out", search)
    hangs = start(out, search, "hangs")
    assert hangs.stdout is not None
    theirs = int(hangs.stdout.readline())
    hangs.kill()
    hangs.wait()
    hangs.communicate()
    other = start(out, search, "other")
    assert other.stdout is not None
    done = [int(other.stdout.readline())]
    queue, lock = worker_at(out, search, "here")
    while claim := queue.claim():
        done.append(claim.number)
        queue.report(claim, 1, 0.5)
        queue.finish(claim, "COMPLETE", claim.number / 100)
    lock.release()
    done += map(int, other.stdout.read().split())
    other.communicate(timeout=120)
    assert other.returncode == 0
    assert sorted(done) == list(range(1, 9))  # each once, that of the killed one too
    assert theirs == 1
    attempts = open_study(out / STUDY).get_trials()
    assert Counter(attempt.state.name for attempt in attempts) == {"COMPLETE": 8, "FAIL": 1}
    first = [attempt.params for attempt in attempts if attempt.user_attrs["number"] == theirs]
    assert first[0] == first[1]


def test_a_trial_that_takes_its_process_down_each_time_is_given_up(tmp_path: Path) -> None:
    search = search_of(trials=2)
    out = study_in(tmp_path / "out", search)
    for attempt in range(MOST_DEATHS):
        queue, lock = worker_at(out, search, f"dies{attempt}")
        claim = queue.claim()
        assert claim is not None and claim.number == 1
        lock.release()  # as the end of its process does
    queue, lock = worker_at(out, search, "lives")
    claim = queue.claim()
    assert claim is not None and claim.number == 2
    queue.finish(claim, "COMPLETE", 0.5)
    assert queue.claim() is None
    assert [attempt.state.name for attempt in latest_attempts(open_study(out / STUDY)).values()] == ["FAIL", "COMPLETE"]
    lock.release()


def test_what_is_given_back_goes_on_in_its_folder_and_draws_nothing_anew(tmp_path: Path) -> None:
    search = search_of()
    out, other = study_in(tmp_path / "out", search), study_in(tmp_path / "other", search)
    queue, lock = worker_at(out, search, "a")
    claim = queue.claim()
    assert claim is not None
    queue.report(claim, 1, 0.3)
    queue.give_back(claim)
    again = queue.claim()
    assert again is not None
    assert (again.number, again.values, again.folder) == (claim.number, claim.values, out / TRIALS / "0001")
    straight, its_lock = worker_at(other, search, "a")
    # From there on both searches draw the same: the interruption is not seen.
    for number in (1, 2, 3):
        here = again if number == 1 else queue.claim()
        there = straight.claim()
        assert here is not None and there is not None
        assert (here.number, here.values) == (there.number, there.values)
        queue.finish(here, "COMPLETE", number / 10)
        straight.finish(there, "COMPLETE", number / 10)
    lock.release()
    its_lock.release()


def test_poor_trials_are_pruned_and_the_best_few_keep_their_networks(tmp_path: Path) -> None:
    search = search_of(keep=1)
    out = study_in(tmp_path / "out", search)
    queue, lock = worker_at(out, search, "a")
    for value, poor in ((0.5, False), (0.6, False), (0.2, True), (0.55, True)):
        claim = queue.claim()
        assert claim is not None
        claim.folder.mkdir(parents=True)
        for name in ("best.keras", "averaged.npz", "model.keras", "config.toml"):
            (claim.folder / name).write_text("")
        assert not queue.report(claim, 1, value / 2)  # within tune.grace_epochs
        cut = queue.report(claim, 2, value)
        assert cut == (poor and value < 0.55)
        queue.finish(claim, "PRUNED" if cut else "COMPLETE", None if cut else value)
    lock.release()
    for name in ("best.keras", "averaged.npz", "model.keras"):
        assert [path.parent.name for path in out.glob(f"trials/*/{name}")] == ["0002"]
    assert len(list(out.glob("trials/*/config.toml"))) == 4


def test_the_importance_of_settings_is_told_once_there_are_enough_trials(tmp_path: Path) -> None:
    search = search_of(trials=12, pruner="none", startup_trials=12)
    out = study_in(tmp_path / "out", search)
    queue, lock = worker_at(out, search, "a")
    assert "no trial was completed" in write_results(out, search).text()
    while claim := queue.claim():
        value = 0.9 - abs(math.log10(claim.values["loop.learning_rate"]) + 2) / 10
        queue.report(claim, 1, value)
        queue.finish(claim, "COMPLETE", value)
    lock.release()
    found = write_results(out, search)
    assert sum(found.importance.values()) == pytest.approx(1)
    assert max(found.importance, key=found.importance.__getitem__) == "loop.learning_rate"  # nothing else mattered
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
    path = study_in(tmp_path, theirs) / STUDY
    with pytest.raises(ConfigError) as refused:
        check_same_search(path, open_study(path), search_of(), "the data")
    for word in (str(path), *words):
        assert word in str(refused.value)


def test_a_study_of_other_data_is_refused_and_more_trials_are_no_other_search(tmp_path: Path) -> None:
    path = study_in(tmp_path, search_of()) / STUDY
    check_same_search(path, open_study(path), search_of(trials=99, keep=9), "the data")
    with pytest.raises(ConfigError, match="rows_sha256"):
        check_same_search(path, open_study(path), search_of(), "other data")


def test_a_study_from_before_a_key_of_the_recipe_goes_on_while_that_has_its_default(tmp_path: Path) -> None:
    path = study_in(tmp_path, search_of()) / STUDY
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
        (b"no database, " * 100, "no study"),
        (None, "not there"),
        (b"cut", "damaged"),
        (b"foreign", "no study"),
    ],
)
def test_a_file_that_is_no_study_is_refused_and_left_alone(content: bytes | None, word: str, tmp_path: Path) -> None:
    path = study_in(tmp_path, search_of()) / STUDY
    whole = path.read_bytes()
    path.unlink()
    if content == b"foreign":
        sqlite3.connect(path).execute("CREATE TABLE trials (x)").connection.close()
    elif content is not None:
        path.write_bytes(whole[: len(whole) // 2] if content == b"cut" else content)
    before = path.read_bytes() if path.exists() else None
    with pytest.raises(InputError, match=word) as refused:
        open_study(path)
    assert "\n" not in str(refused.value)
    assert (path.read_bytes() if path.exists() else None) == before


def test_a_full_disk_and_a_folder_of_others_are_told_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no folder"):
        create_study(tmp_path / "no folder" / STUDY, search_of(), "the data")
    search = search_of()
    out = study_in(tmp_path / "out", search)
    queue, lock = worker_at(out, search, "a")
    # Files that may not grow: SQLite's journal meets what it meets on a full disk.
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, hard))
    try:
        with pytest.raises(OutputError) as refused:
            queue.claim()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    assert "\n" not in str(refused.value)
    assert "--resume" in str(refused.value)
    lock.release()
    claim = worker_at(out, search, "b")[0].claim()
    assert claim is not None and claim.number == 1  # nothing was lost


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
