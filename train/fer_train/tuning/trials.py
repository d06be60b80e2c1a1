"""The trials of one study, handed to workers so that none is lost and none done twice.

Optuna counts every attempt; here a trial that was cut off and goes on later, in the same folder, is one: its attempts
share the attribute ``number``, and the last of them is what became of it. ``worker`` names the lock of who is at it.
All changes are made by one process at a time, under ``study.lock``.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fer_train.averaging import AVERAGED
from fer_train.locks import alone, is_held
from fer_train.run_folder import BEST, CHECKPOINT, HELD, MODEL, STUDY
from fer_train.tuning.settings import Choices, Search, Span, Values
from fer_train.tuning.study_file import open_study, storage_errors

LOCK, WORKERS, TRIALS = "study.lock", "workers", "trials"
MOST_DEATHS = 3
"""A trial that took its process down so many times (memory, a crash of the backend) is not tried again."""


@dataclass(frozen=True, slots=True)
class Claim:
    """A trial that this worker has: ``trial`` is Optuna's, ``folder`` that of the run, which may hold a part of it."""

    trial: Any
    number: int
    values: Values
    folder: Path


class TrialQueue:
    """Takes trials of the study in the folder ``out`` for the worker whose lock is ``workers/<worker>.lock``.

    Every method raises InputError and OutputError for a study's file that is damaged, locked or cannot be written.
    """

    def __init__(self, out: Path, search: Search, worker: str) -> None:
        self._out, self._search, self._worker = out, search, worker
        self._study = open_study(out / STUDY)
        self._study.pruner = _pruner(search)

    def claim(self) -> Claim | None:
        """The next trial, one that was cut off before a new one; None when all are done or in other hands."""
        with self._changing():
            self._take_back_from_dead()
            attempts = self._study.get_trials(deepcopy=False)
            number = 1 + max((attempt.user_attrs.get("number", 0) for attempt in attempts), default=0)
            if number > self._search.settings.trials and not any(a.state.name == "WAITING" for a in attempts):
                return None
            trial = self._study.ask()
            trial.set_user_attr("worker", self._worker)
            number = trial.user_attrs.get("number", number)
            # By number, so that neither another worker nor a search that goes on draws the same values again.
            self._study.sampler = _sampler(self._search, number)
            values = {key: _suggest(trial, key, each) for key, each in self._search.ranges.items()}
            trial.set_user_attr("number", number)  # last: without it an attempt that was cut off here counts nowhere
            return Claim(trial, number, values, self._out / TRIALS / f"{number:04}")

    def report(self, claim: Claim, epoch: int, value: float) -> bool:
        """Note what ``epoch`` reached, and say whether the trial should end there."""
        with storage_errors(self._out / STUDY):
            claim.trial.report(value, step=epoch)
            return bool(claim.trial.should_prune())

    def finish(self, claim: Claim, state: str, value: float | None = None, reason: str = "") -> None:
        """It ended as COMPLETE with ``value``, PRUNED or FAIL; networks that are no longer of the best are removed."""
        from optuna.trial import TrialState

        with self._changing():
            if reason:
                claim.trial.set_user_attr("reason", reason)
            self._study.tell(claim.trial, value, state=TrialState[state])
            self._remove_networks()

    def give_back(self, claim: Claim) -> None:
        """Let another worker, or a later search, go on with it after its last whole epoch."""
        with self._changing():
            attempt = next(a for a in self._study.get_trials(deepcopy=False) if a.number == claim.trial.number)
            self._requeue(attempt, died=False)

    def best_value(self) -> float | None:
        """Of the trials that are complete."""
        with storage_errors(self._out / STUDY):
            done = ranked(latest_attempts(self._study), self._search)
        return float(done[0].value) if done else None

    @contextlib.contextmanager
    def _changing(self) -> Iterator[None]:
        with alone(self._out / LOCK), storage_errors(self._out / STUDY):
            yield

    def _take_back_from_dead(self) -> None:
        for attempt in self._study.get_trials(deepcopy=False):
            if attempt.state.name == "RUNNING":
                lock = self._out / WORKERS / f"{attempt.user_attrs.get('worker', '')}.lock"
                if not is_held(lock):
                    self._requeue(attempt, died=True)
                    lock.unlink(missing_ok=True)

    def _requeue(self, attempt: Any, *, died: bool) -> None:
        """The order lets this be cut off at any point, and be done again."""
        from optuna.trial import TrialState

        number = attempt.user_attrs.get("number")
        deaths = attempt.user_attrs.get("deaths", 0) + died
        is_latest = number and latest_attempts(self._study)[number].number == attempt.number
        if is_latest and deaths < MOST_DEATHS:
            self._study.enqueue_trial(_kept_values(attempt), user_attrs={"number": number, "deaths": deaths})
        self._study.tell(attempt.number, state=TrialState.FAIL)

    def _remove_networks(self) -> None:
        latest = latest_attempts(self._study)
        kept = {attempt.number for attempt in ranked(latest, self._search)[: self._search.settings.keep]}
        for number, attempt in latest.items():
            if attempt.state.is_finished() and attempt.number not in kept:
                for name in (CHECKPOINT, BEST, HELD, AVERAGED, MODEL):
                    (self._out / TRIALS / f"{number:04}" / name).unlink(missing_ok=True)


def latest_attempts(study: Any) -> dict[int, Any]:
    """The last attempt (``optuna.trial.FrozenTrial``) at each trial, by the trial's number."""
    attempts = sorted(study.get_trials(deepcopy=False), key=lambda attempt: int(attempt.number))
    return {attempt.user_attrs["number"]: attempt for attempt in attempts if "number" in attempt.user_attrs}


def ranked(latest: dict[int, Any], search: Search) -> list[Any]:
    """Those that are complete, the best first; of equals the earlier."""
    sign = -1.0 if search.settings.metric == "accuracy" else 1.0
    done = [attempt for attempt in latest.values() if attempt.state.name == "COMPLETE"]
    return sorted(done, key=lambda attempt: (sign * attempt.value, attempt.user_attrs["number"]))


def values_of(attempt: Any, search: Search) -> Values:
    """The values of a trial as the recipe has them."""
    return {key: _as_recipe(search.ranges[key], value) for key, value in _kept_values(attempt).items()}


def _kept_values(attempt: Any) -> Values:
    """As the study has them: of one that waits to go on, those are what Optuna will give it."""
    return {**attempt.system_attrs.get("fixed_params", {}), **attempt.params}


def _suggest(trial: Any, key: str, each: Span | Choices) -> Any:
    if isinstance(each, Choices):
        return _as_recipe(each, trial.suggest_categorical(key, each.names()))
    if each.whole:
        return trial.suggest_int(key, int(each.low), int(each.high), step=int(each.step or 1), log=each.log)
    return trial.suggest_float(key, each.low, each.high, step=each.step, log=each.log)


def _as_recipe(each: Span | Choices, value: Any) -> Any:
    return each.values[each.names().index(value)] if isinstance(each, Choices) else value


def _sampler(search: Search, number: int) -> Any:
    import optuna

    seed = int(np.random.SeedSequence([search.settings.seed, number]).generate_state(1)[0])
    # constant_liar: what other workers are at counts as poor, so that two do not try nearly the same.
    return optuna.samplers.TPESampler(seed=seed, n_startup_trials=search.settings.startup_trials, constant_liar=True)


def _pruner(search: Search) -> Any:
    """Hyperband, which Optuna's authors name beside TPE, splits the trials into brackets that learn apart.

    Each wants ten trials before TPE sets in there (https://optuna.readthedocs.io, HyperbandPruner): more than a search
    on a few cores has in all.
    """
    import optuna

    settings = search.settings
    if settings.pruner == "none":
        return optuna.pruners.NopPruner()
    return optuna.pruners.MedianPruner(n_startup_trials=settings.startup_trials, n_warmup_steps=settings.grace_epochs)
