"""A worker process of a search: ``python -m fer_train.tuning.worker``, started by ``supervisor``.

It reads its job as one line of JSON from standard input, and stops when that stream ends, also because the process
that started it was killed. It then queues its trial again, to be continued after the last whole epoch.
"""

from __future__ import annotations

import _thread
import gc
import json
import logging
import math
import os
import signal
import sys
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from optuna.exceptions import UpdateFinishedTrialError

from fer_edge.errors import FerEdgeError, InputError, OutputError, reason_of
from fer_edge.system.messages import print_message
from fer_train.backend import load_keras
from fer_train.data.dataset import Dataset, load_data
from fer_train.recipe.recipe import Recipe
from fer_train.training.inputs.targets import training_targets
from fer_train.training.run_folder.files import CONFIG
from fer_train.training.run_folder.folder import check_run
from fer_train.tuning.job import Job
from fer_train.tuning.results import shown
from fer_train.tuning.settings import Search, from_table
from fer_train.tuning.storage import GRACE_S, StudyLocation, open_study, storage_errors
from fer_train.tuning.trials import (
    TRIALS,
    current_attempts,
    is_lost,
    number_of,
    pruner_of,
    ranked,
    recover_lost,
    remove_networks,
    suggest_values,
    take_back,
)

log = logging.getLogger("fer_train.tuning")

STOPPED = 130
"""Exit code of a worker that was stopped."""
_POLL_S = 2.0


class _FailedTrialError(Exception):
    """A trial failed; the study contains the ``reason``."""


class NotNeededError(Exception):
    """Optuna handed out a trial twice, or one more than the search has."""


def main() -> int:
    """Run trials until none is left; return the exit code."""
    _stop_at_end_of_input(job := Job(**json.loads(sys.stdin.readline())))
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # The command has already printed the messages of the data set's readers.
    logging.getLogger("fer_train").setLevel(logging.ERROR)
    log.setLevel(logging.INFO)
    try:
        _work(job)
    except KeyboardInterrupt:
        return STOPPED
    except FerEdgeError as error:
        print_message(str(error))
        return error.exit_code
    return 0


def _stop_at_end_of_input(job: Job) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # queuing the trial again must not be interrupted
        raise KeyboardInterrupt

    def watch() -> None:
        sys.stdin.read()
        _thread.interrupt_main(signal.SIGTERM)

    # A terminal sends Ctrl-C to all its processes; the command decides when its workers stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, name=f"watch {job.worker}", daemon=True).start()


def _work(job: Job) -> None:
    search = from_table(job.search, "the search")
    source = None if job.data is None else Path(job.data)
    dataset = load_data(search.recipe.data, source, skip_bad=job.skip_bad)
    if dataset.rows_sha256 != job.rows_sha256:
        raise InputError(f"{dataset.name}: the data have changed since the search began; continue with --resume")
    location = job.location()
    run_trials(Objective(open_study(location), search, dataset, source, location, job.worker))


def run_trials(objective: Objective) -> None:
    """Run trials until all of the search have a result.

    Raises:
        KeyboardInterrupt, OutputError: after the current trial is queued again.
    """
    study, search, location = objective.study, objective.search, objective.location
    study.pruner = pruner_of(search)
    with storage_errors(location):
        while _wait_for_work(study, search):
            try:
                study.optimize(objective, n_trials=1, catch=(_FailedTrialError, NotNeededError))
            except (KeyboardInterrupt, OutputError):
                take_back(study, objective.worker, died=False)
                raise
            except (ValueError, UpdateFinishedTrialError):
                # Optuna refuses the result of a trial that it gave up, since this process was suspended.
                if not any(each.number == objective.attempt and each.state.is_finished() for each in study.trials):
                    raise
                log.warning("%s: had no heartbeat for %d s; another worker runs it again", objective.title, GRACE_S)
            remove_networks(study, search, location)


def _wait_for_work(study: Any, search: Search) -> bool:
    """Wait until there is a trial to run and return True; return False once all trials have a result.

    Trials of other workers are waited for: if one is killed, this worker may have to run its trial.
    """
    while True:
        recover_lost(study, search)
        current = {n: each for n, each in current_attempts(study).items() if n <= search.settings.trials}
        if len(current) < search.settings.trials or any(each.state.name == "WAITING" for each in current.values()):
            return True
        if not any(each.state.name == "RUNNING" or is_lost(each) for each in current.values()):
            return False
        time.sleep(_POLL_S)


class Objective:
    """Trains one trial of the search; ``study.optimize`` calls it."""

    def __init__(
        self, study: Any, search: Search, dataset: Dataset, source: Path | None, location: StudyLocation, worker: str
    ) -> None:
        self.study, self.search, self.location, self.worker = study, search, location, worker
        self._dataset, self._source = dataset, source
        self.attempt = -1
        """Optuna's number of the current trial."""
        self.title = ""

    def __call__(self, trial: Any) -> float:
        """Return the metric of the trial's best epoch.

        Raises:
            optuna.TrialPruned: if the trial was pruned or diverged.
            _FailedTrialError: if training failed; the reason is in the study.
            NotNeededError: if another worker runs the trial, or all trials have been started.
        """
        search, metric = self.search, self.search.settings.metric
        self.attempt = trial.number
        trial.set_user_attr("worker", self.worker)
        number = number_of(self.study, trial)
        if number > search.settings.trials or current_attempts(self.study)[number].number != trial.number:
            raise NotNeededError
        self.title = f"trial {number} of {search.settings.trials}"
        values = suggest_values(self.study, trial, search, number)
        log.info("%s: %s", self.title, ", ".join(f"{key} = {shown(value)}" for key, value in values.items()))
        try:
            value = self.train(trial, number, search.trial_recipe(values, number))
        except optuna.TrialPruned as cut:
            if str(cut):
                trial.set_user_attr("reason", str(cut))
            log.info("%s: %s", self.title, str(cut) or "pruned")
            raise
        except (OutputError, UpdateFinishedTrialError):
            raise
        except Exception as error:  # noqa: BLE001 - values or the user's own network may fail in any way
            raise self._failed(trial, error) from None
        log.info("%s: %s %.4f (best so far: %.4f)", self.title, metric, value, self._best_with(value))
        return value

    def _failed(self, trial: Any, error: Exception) -> _FailedTrialError:
        trial.set_user_attr("reason", reason_of(error))
        log.warning("%s: failed: %s", self.title, reason_of(error))
        return _FailedTrialError()

    def _best_with(self, value: float) -> float:
        current = current_attempts(self.study)
        best = [current[number].value for number in ranked(current, self.search)[:1]]
        return float((max if self.search.settings.metric == "accuracy" else min)([value, *best]))

    def train(self, trial: Any, number: int, recipe: Recipe) -> float:
        """Train the trial in its folder, or resume it after its last whole epoch; return the best epoch's metric."""
        targets = training_targets(recipe.targets, self._dataset, self._source)
        keras = load_keras()  # here, since it takes seconds and is not needed without a trial
        from fer_train.training.callbacks import DivergedError
        from fer_train.training.loop import train

        # Free the previous trial's graph, about a hundred megabytes, and its layer names.
        keras.utils.clear_session()
        gc.collect()
        accuracy = self.search.settings.metric == "accuracy"
        reached: list[float] = []

        def report(epoch: int, value: float) -> bool:
            with storage_errors(self.location):
                trial.report(value, step=epoch)
                return bool(trial.should_prune())

        def on_epoch(line: dict[str, Any]) -> None:
            value = float(line["val_accuracy" if accuracy else "val_loss"])
            diverged = not (math.isfinite(line["loss"]) and math.isfinite(line["val_loss"]))
            reached.append(value)
            cut = report(line["epoch"], math.nan if diverged else value)
            if diverged:
                raise optuna.TrialPruned(f"diverged in epoch {line['epoch']}")
            if cut and line["epoch"] < recipe.loop.epochs:
                raise optuna.TrialPruned

        folder = self.location.out / TRIALS / f"{number:04}"
        resume = (folder / CONFIG).exists()
        if resume:
            for line in check_run(recipe, folder, resume=True, start=None)[0].history:
                on_epoch(line)
        try:
            train(recipe, self._dataset, folder, targets=targets, resume=resume, on_epoch=on_epoch)
        except DivergedError as error:
            report(error.epoch, math.nan)
            raise optuna.TrialPruned(f"diverged in epoch {error.epoch}") from None
        return max(reached) if accuracy else min(reached)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # An orderly exit would wait for the backend's threads, and for ours that reads standard input.
    os._exit(code)
