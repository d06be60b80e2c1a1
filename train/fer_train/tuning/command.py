"""The work of ``fer-edge train --tune``: open the study, let workers search, and tell what was found."""

from __future__ import annotations

import argparse
import importlib
import logging
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fer_edge.errors import CheckFailedError, ConfigError, InputError, MissingExtraError, OutputError
from fer_edge.system.messages import print_text
from fer_train.backend import check_packages
from fer_train.config import load_recipe, with_weights
from fer_train.dataset import load_data, trainable_rows
from fer_train.locks import FileLock, alone, is_held
from fer_train.run_folder import CONFIG, STUDY
from fer_train.targets import training_targets
from fer_train.tuning.settings import Search, load_search
from fer_train.tuning.study_file import check_same_search, create_study, open_study
from fer_train.tuning.supervisor import supervise
from fer_train.tuning.trials import LOCK, TRIALS, WORKERS
from fer_train.tuning.worker import Job


def run(arguments: argparse.Namespace) -> int:
    """Search as ``[tune]`` of the recipe says; prints what was found, and the path of ``best.toml``."""
    search, out = _search(arguments)
    if arguments.start is not None:
        raise ConfigError("--from: a search begins each trial anew; leave --from or --tune out")
    several = (arguments.coordinator, arguments.processes, arguments.process, arguments.wait)
    if any(value is not None for value in several):
        raise ConfigError(
            "--coordinator, --processes, --process, --wait: are for one run of several processes, not for --tune"
        )
    _check_folder(out, resume=arguments.resume)
    _check_packages()
    logging.getLogger("fer_train").setLevel(logging.INFO)
    dataset = load_data(search.recipe.data, arguments.data, skip_bad=arguments.skip_bad_rows)
    trainable_rows(dataset)
    for targets in search.targets():
        training_targets(targets, dataset, arguments.data)
    rows_sha256 = dataset.rows_sha256
    del dataset  # each worker has its own, and this process is there to wait
    job = Job(
        out=str(out),
        search=search.to_table(),
        data=None if arguments.data is None else str(arguments.data),
        skip_bad=arguments.skip_bad_rows,
        rows_sha256=rows_sha256,
        worker="",
    )
    with _taking_part(out, search, rows_sha256, resume=arguments.resume):
        _work(job, out, search, min(arguments.workers or 1, search.settings.trials))
    return 0


def _work(job: Job, out: Path, search: Search, workers: int) -> None:
    from fer_train.tuning.report import MARKDOWN, write_results

    try:
        supervise(job, workers)
    except BaseException as error:
        # Ctrl-C or SIGTERM: what was found so far is written all the same.
        if not isinstance(error, Exception):
            found = write_results(out, search)
            error.args = (f"{found.done} of {search.settings.trials} trials are done; go on with --resume --out {out}",)
        raise
    found = write_results(out, search)
    print_text(found.text())
    if found.best is None and found.done == len(found.rows):
        raise CheckFailedError(f"{out}: no trial was completed; {MARKDOWN} there tells of each what became of it")


def _search(arguments: argparse.Namespace) -> tuple[Search, Path]:
    recipe = load_recipe(arguments.config)
    if arguments.weights is not None:
        recipe = with_weights(recipe, arguments.weights)
    search = load_search(arguments.config, recipe)
    return search, arguments.out or Path("runs") / recipe.name


def _check_packages() -> None:
    """Raises MissingExtraError for what this process needs, and what the workers will."""
    for package in ("optuna", "sqlalchemy", "alembic"):
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise MissingExtraError((error.name or package).partition(".")[0], "tune") from error
    check_packages()


def _check_folder(out: Path, *, resume: bool) -> None:
    """Refuse, before anything is read or made, a folder that is no study's."""
    if (out / CONFIG).exists():
        raise ConfigError(f"{out}: holds a run, not a search; choose another --out")
    if (out / STUDY).exists():
        return
    if (out / TRIALS).exists():
        raise InputError(f"{out}: holds trials, and no {STUDY}; restore a copy of it, or choose another --out")
    if resume:
        raise InputError(f"{out}: nothing to resume: it holds no {STUDY}")


@contextmanager
def _taking_part(out: Path, search: Search, rows_sha256: str, *, resume: bool) -> Iterator[None]:
    """Make the study, go on with it, or join those who are at work on it; others see that we are, inside the block."""
    workers, path = out / WORKERS, out / STUDY
    if path.exists():
        check_same_search(path, open_study(path), search, rows_sha256)
    try:
        workers.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make this folder: {error.strerror}") from error
    presence = FileLock(workers / f"{os.getpid()}-{secrets.token_hex(4)}.lock")
    with alone(out / LOCK):
        if not path.exists():
            create_study(path, search, rows_sha256)
        elif not resume and not any(map(is_held, workers.glob("*.lock"))):
            raise ConfigError(f"{out}: already holds a search; go on with --resume, or choose another --out")
        check_same_search(path, open_study(path), search, rows_sha256)
        presence.take()
    try:
        yield
    finally:
        presence.release()
        with alone(out / LOCK):
            for lock in workers.glob("*.lock"):
                if not is_held(lock):
                    lock.unlink(missing_ok=True)
