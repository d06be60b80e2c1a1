"""One worker of a search, a process of its own: ``python -m fer_train.tuning.worker``, started by ``supervisor``.

Its job is a line of JSON on standard input. The end of that stream, which comes too when the process that started it
is killed, tells it to stop: the trial that it has is given back after its last whole epoch.
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
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from fer_edge.errors import FerEdgeError, InputError, OutputError, reason_of
from fer_edge.system.messages import print_message
from fer_edge.types import Float32Array
from fer_train.backend import load_keras
from fer_train.config import Recipe
from fer_train.dataset import Dataset, load_data
from fer_train.locks import FileLock, alone
from fer_train.run_folder import CONFIG, check_run
from fer_train.targets import training_targets
from fer_train.tuning.settings import Search, from_table
from fer_train.tuning.trials import LOCK, WORKERS, Claim, TrialQueue

log = logging.getLogger("fer_train.tuning")

STOPPED = 130
"""Exit code of a worker that was told to stop."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told: as for the command, and ``worker``, the name that its lock and its trials bear."""

    out: str
    search: dict[str, Any]
    data: str | None
    skip_bad: bool
    rows_sha256: str
    worker: str


class _EndTrial(Exception):  # noqa: N818 - it is no error
    """A trial that ends before its last epoch; ``reason`` tells of one that diverged."""

    def __init__(self, reason: str = "") -> None:
        super().__init__(reason)
        self.reason = reason


def main() -> int:
    """Work until no trial is left; returns the exit code."""
    _stop_at_end_of_input(job := Job(**json.loads(sys.stdin.readline())))
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    # What the data set's readers have to print_message, the command has said already.
    logging.getLogger("fer_train").setLevel(logging.ERROR)
    log.setLevel(logging.INFO)
    lock = FileLock(Path(job.out) / WORKERS / f"{job.worker}.lock")
    try:
        with alone(Path(job.out) / LOCK):  # lest it be taken for one that a dead worker left, and removed
            lock.take()
        _work(job)
    except KeyboardInterrupt:
        return STOPPED
    except FerEdgeError as error:
        print_message(str(error))
        return error.exit_code
    finally:
        lock.release()
    return 0


def _stop_at_end_of_input(job: Job) -> None:
    def stop(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)  # giving back is not to be stopped
        raise KeyboardInterrupt

    def watch() -> None:
        sys.stdin.read()
        _thread.interrupt_main(signal.SIGTERM)

    # A terminal sends Ctrl-C to us as well; who started us hears it, and says when to stop.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, stop)
    threading.Thread(target=watch, name=f"watch {job.worker}", daemon=True).start()


def _work(job: Job) -> None:
    search = from_table(job.search, "the search")
    source = None if job.data is None else Path(job.data)
    dataset = load_data(search.recipe.data, source, skip_bad=job.skip_bad)
    if dataset.rows_sha256 != job.rows_sha256:
        raise InputError(f"{dataset.name}: the data have changed since the search began; go on with --resume")
    queue = TrialQueue(Path(job.out), search, job.worker)
    while (claim := queue.claim()) is not None:
        _try(queue, claim, search, dataset, source)


def _try(queue: TrialQueue, claim: Claim, search: Search, dataset: Dataset, source: Path | None) -> None:
    """Train one trial to its end, and tell what became of it."""
    title = f"trial {claim.number} of {search.settings.trials}"
    metric = search.settings.metric
    log.info("%s: %s", title, ", ".join(f"{key} = {_shown(value)}" for key, value in claim.values.items()))
    try:
        recipe = search.trial_recipe(claim.values, claim.number)
        value = _train(recipe, claim, dataset, training_targets(recipe.targets, dataset, source), queue, metric)
    except _EndTrial as cut:
        queue.finish(claim, "PRUNED", reason=cut.reason)
        log.info("%s: %s", title, cut.reason or "pruned")
    except (KeyboardInterrupt, OutputError):
        queue.give_back(claim)
        raise
    except Exception as error:  # noqa: BLE001 - values, or a network of one's own, may fail in any way; others go on
        queue.finish(claim, "FAIL", reason=reason_of(error))
        log.warning("%s: failed: %s", title, reason_of(error))
    else:
        queue.finish(claim, "COMPLETE", value)
        log.info("%s: %s %.4f (best so far: %.4f)", title, metric, value, queue.best_value())


def _train(
    recipe: Recipe,
    claim: Claim,
    dataset: Dataset,
    targets: Callable[[int], Float32Array],
    queue: TrialQueue,
    metric: str,
) -> float:
    """The best epoch's metric. Raises _EndTrial for a trial that is pruned or diverged."""
    keras = load_keras()  # not before there is a trial: it takes seconds
    from fer_train.learning import DivergedError
    from fer_train.train import train

    # Of the trial before: its graph is a hundred megabytes, and its layers would lend their names to ours.
    keras.utils.clear_session()
    gc.collect()
    reached: list[float] = []

    def look(line: dict[str, Any]) -> None:
        value = float(line["val_accuracy" if metric == "accuracy" else "val_loss"])
        diverged = not (math.isfinite(line["loss"]) and math.isfinite(line["val_loss"]))
        reached.append(value)
        cut = queue.report(claim, line["epoch"], math.nan if diverged else value)
        if diverged:
            raise _EndTrial(f"diverged in epoch {line['epoch']}")
        if cut and line["epoch"] < recipe.loop.epochs:
            raise _EndTrial

    resume = (claim.folder / CONFIG).exists()
    if resume:
        for line in check_run(recipe, claim.folder, resume=True, start=None)[0].history:
            look(line)
    try:
        train(recipe, dataset, claim.folder, targets=targets, resume=resume, on_epoch=look)
    except DivergedError as error:
        queue.report(claim, error.epoch, math.nan)
        raise _EndTrial(f"diverged in epoch {error.epoch}") from None
    return max(reached) if metric == "accuracy" else min(reached)


def _shown(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # The threads of a backend need no farewell, and one of ours still waits for input.
    os._exit(code)
