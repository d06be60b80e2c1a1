"""The trials of a study: numbers, attempts, ranking, and retries of interrupted ones.

Optuna counts every attempt. Here, an interrupted attempt and its retries are one trial with one number and folder.
Optuna's ``failed_trial`` attribute links a retry to the first attempt.
"""

from __future__ import annotations

import datetime
from typing import Any

import numpy as np

from fer_train.training.run_folder.files import AVERAGED, BEST, CHECKPOINT, HELD, MODEL
from fer_train.tuning.settings import Choices, Search, Span, Values
from fer_train.tuning.storage import GRACE_S, MAX_RETRIES, StudyLocation

TRIALS = "trials"


def attempts_by_number(study: Any) -> dict[int, list[Any]]:
    """Return the attempts (``optuna.trial.FrozenTrial``) at each trial, by the trial's number, from 1."""
    attempts: dict[int, list[Any]] = {}  # by the number that Optuna gave the first attempt
    for attempt in sorted(study.get_trials(deepcopy=False), key=lambda attempt: int(attempt.number)):
        attempts.setdefault(attempt.system_attrs.get("failed_trial", attempt.number), []).append(attempt)
    return {number: attempts[first] for number, first in enumerate(sorted(attempts), 1)}


def current_attempts(study: Any) -> dict[int, Any]:
    """Return the current attempt of each trial: that with a result, else running, else waiting, else the last."""
    return {number: _current(attempts) for number, attempts in attempts_by_number(study).items()}


def number_of(study: Any, trial: Any) -> int:
    """Return the number of the trial that ``trial`` is an attempt at."""
    return next(
        number
        for number, attempts in attempts_by_number(study).items()
        if any(attempt.number == trial.number for attempt in attempts)
    )


def has_result(attempt: Any) -> bool:
    """Return whether the trial ended on its own: completed, pruned or failed, but not interrupted."""
    return attempt.state.name in ("COMPLETE", "PRUNED") or "reason" in attempt.user_attrs


def is_surplus(attempt: Any) -> bool:
    """Return whether a worker began this trial after another one had begun the last of the search."""
    return attempt.state.name == "FAIL" and not attempt.params and not has_result(attempt)


def ranked(current: dict[int, Any], search: Search) -> list[int]:
    """Return the numbers of the completed trials, the best first; of equal ones, the earlier first."""
    sign = -1.0 if search.settings.metric == "accuracy" else 1.0
    done = [number for number, attempt in current.items() if attempt.state.name == "COMPLETE"]
    return sorted(done, key=lambda number: (sign * current[number].value, number))


def values_of(attempt: Any, search: Search) -> Values:
    """Return the values of a trial in the recipe's types."""
    return {key: _as_recipe(search.ranges[key], value) for key, value in attempt.params.items()}


def suggest_values(study: Any, trial: Any, search: Search, number: int) -> Values:
    """Draw the values of a trial; a retry gets those of the attempt before."""
    # Seeded by number, so that neither another worker nor a resumed search draws the same values again.
    study.sampler = _sampler(search, number)
    return {key: _suggest(trial, key, each) for key, each in search.ranges.items()}


def take_back(study: Any, worker: str, *, died: bool) -> None:
    """Queue the trial that ``worker`` left without a result again, without waiting for its heartbeat to expire."""
    from optuna.trial import TrialState

    for attempts in attempts_by_number(study).values():
        attempt = _current(attempts)
        if attempt.user_attrs.get("worker") != worker or attempt.state.name == "WAITING" or has_result(attempt):
            continue
        if attempt.state.name == "RUNNING":
            study.tell(attempt.number, state=TrialState.FAIL)
        _retry(study, attempt, died=died)


def recover_lost(study: Any, search: Search) -> None:
    """Queue trials again that Optuna's heartbeat misses: those of workers killed between two writes to the storage.

    If a worker is killed before its first heartbeat, its trial has none, and Optuna never treats that as stale. If it
    is killed after it set a stale trial to FAIL, the retry is not queued.
    """
    from optuna.storages import fail_stale_trials
    from sqlalchemy import text

    storage = study._storage  # Optuna has no public access to it; the RDBStorage is behind a cache
    with getattr(storage, "_backend", storage).engine.connect() as connection:
        beating = {row[0] for row in connection.execute(text("SELECT trial_id FROM trial_heartbeats"))}
    for number, attempt in current_attempts(study).items():
        if attempt.state.name == "RUNNING":
            if attempt._trial_id not in beating and _is_old(attempt.datetime_start):
                storage.record_heartbeat(attempt._trial_id)
        elif number <= search.settings.trials and is_lost(attempt) and _is_old(attempt.datetime_complete):
            _retry(study, attempt, died=True)
    fail_stale_trials(study)


def is_lost(attempt: Any) -> bool:
    """Return whether the trial was interrupted and has no retry in the queue."""
    interrupted = attempt.state.name == "FAIL" and not has_result(attempt)
    return interrupted and len(attempt.system_attrs.get("retry_history", ())) < MAX_RETRIES


def remove_networks(study: Any, search: Search, location: StudyLocation) -> None:
    """Remove the networks of the trials that are not among the best ``tune.keep``."""
    current = current_attempts(study)
    kept = ranked(current, search)[: search.settings.keep]
    for number, attempt in current.items():
        if has_result(attempt) and number not in kept:
            for name in (CHECKPOINT, BEST, HELD, AVERAGED, MODEL):
                (location.out / TRIALS / f"{number:04}" / name).unlink(missing_ok=True)


def pruner_of(search: Search) -> Any:
    """Return the pruner of ``[tune]``.

    Hyperband, which Optuna's authors name together with TPE, splits the trials into brackets that learn separately.
    Each needs ten trials before TPE starts there (https://optuna.readthedocs.io, HyperbandPruner): more than a search
    on a few cores has in all.
    """
    import optuna

    settings = search.settings
    if settings.pruner == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=settings.grace_epochs)


def _current(attempts: list[Any]) -> Any:
    for attempt in attempts:
        if has_result(attempt):
            return attempt
    for state in ("RUNNING", "WAITING"):
        for attempt in attempts:
            if attempt.state.name == state:
                return attempt
    return attempts[-1]


def _retry(study: Any, attempt: Any, *, died: bool) -> None:
    import optuna

    if died:
        optuna.storages.RetryHeartbeatStaleTrialCallback(max_retry=MAX_RETRIES)(study, attempt)
        return
    # As that callback does, but a stopped search does not count as a failure of the trial.
    study.add_trial(
        optuna.create_trial(
            state=optuna.trial.TrialState.WAITING,
            params=attempt.params,
            distributions=attempt.distributions,
            system_attrs={"failed_trial": attempt.number, **attempt.system_attrs},
        )
    )


def _is_old(moment: datetime.datetime | None) -> bool:
    return moment is not None and datetime.datetime.now() - moment > datetime.timedelta(seconds=GRACE_S)


def _suggest(trial: Any, key: str, each: Span | Choices) -> Any:
    if isinstance(each, Choices):
        return _as_recipe(each, trial.suggest_categorical(key, each.names()))
    if each.whole:
        return trial.suggest_int(key, int(each.low), int(each.high), step=int(each.step or 1), log=each.log)
    return trial.suggest_float(key, each.low, each.high, step=each.step, log=each.log)


def _as_recipe(each: Span | Choices, value: Any) -> Any:
    return each.values[each.names().index(value)] if isinstance(each, Choices) else value


def _as_study(each: Span | Choices, value: Any) -> Any:
    return each.names()[each.values.index(value)] if isinstance(each, Choices) else value


def _sampler(search: Search, number: int) -> Any:
    import optuna

    seed = int(np.random.SeedSequence([search.settings.seed, number]).generate_state(1)[0])
    # constant_liar: running trials count as poor, so that two workers do not try nearly equal values.
    tpe = optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.settings.startup_trials, constant_liar=True)
    own = search.own_values() if number == 1 else None
    if own is None:
        return tpe
    # The first trial is the recipe itself, so that the best can be compared with it.
    fixed = {key: _as_study(search.ranges[key], value) for key, value in own.items()}
    return optuna.samplers.PartialFixedSampler(fixed, tpe)
