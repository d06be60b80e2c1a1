"""``fer-edge train --tune``: open the study, run the workers, print the results."""

from __future__ import annotations

import argparse
import importlib
import logging
from pathlib import Path

from fer_edge.errors import CheckFailedError, ConfigError, InputError, MissingExtraError, OutputError
from fer_edge.system.messages import print_text
from fer_train.backend import check_packages
from fer_train.data.dataset import load_data, trainable_rows
from fer_train.locks import alone
from fer_train.recipe.recipe import load_recipe, with_weights
from fer_train.training.inputs.targets import training_targets
from fer_train.training.run_folder.files import CONFIG, STUDY
from fer_train.tuning.job import Job
from fer_train.tuning.settings import Search, load_search
from fer_train.tuning.storage import (
    StudyLocation,
    check_same_search,
    create_study,
    open_study,
    postgresql_location,
    storage_errors,
    study_exists,
)
from fer_train.tuning.supervisor import supervise
from fer_train.tuning.trials import TRIALS

LOCK = "study.lock"
"""Lets one process at a time create the study."""


def run(arguments: argparse.Namespace) -> int:
    """Run the search in ``[tune]`` of the recipe; print the results and the path of ``best.toml``."""
    search, out = _search(arguments)
    if arguments.start is not None:
        raise ConfigError("--from: each trial of a search starts from the beginning; leave --from or --tune out")
    several = (arguments.coordinator, arguments.processes, arguments.process, arguments.wait)
    if any(value is not None for value in several):
        raise ConfigError("--coordinator, --processes, --process and --wait are for a distributed run, not for --tune")
    _check_folder(out, resume=arguments.resume, storage=arguments.storage)
    _check_packages()
    location = StudyLocation(out)
    if arguments.storage is not None:
        location = postgresql_location(out, arguments.storage, search.recipe.name)
        if arguments.resume and not study_exists(location):
            raise InputError(f"{location}: nothing to resume: it holds no study of {search.recipe.name}")
    logging.getLogger("fer_train").setLevel(logging.INFO)
    dataset = load_data(search.recipe.data, arguments.data, skip_bad=arguments.skip_bad_rows)
    trainable_rows(dataset)
    for targets in search.targets():
        training_targets(targets, dataset, arguments.data)
    rows_sha256 = dataset.rows_sha256
    del dataset  # each worker loads its own; this process only waits for them
    job = Job(
        out=str(out),
        search=search.to_table(),
        data=None if arguments.data is None else str(arguments.data),
        skip_bad=arguments.skip_bad_rows,
        rows_sha256=rows_sha256,
        worker="",
        url=location.url,
        study_name=location.study_name,
    )
    _open(location, search, rows_sha256, resume=arguments.resume)
    _work(job, location, search, min(arguments.workers or 1, search.settings.trials))
    return 0


def _work(job: Job, location: StudyLocation, search: Search, workers: int) -> None:
    from fer_train.tuning.report import MARKDOWN, write_results

    try:
        supervise(job, workers)
    except BaseException as error:
        # Ctrl-C or SIGTERM: the results so far are written too.
        if not isinstance(error, Exception):
            found = write_results(location, search)
            error.args = (
                f"{found.done} of {search.settings.trials} trials are done;"
                f" continue with --resume --out {location.out}",
            )
        raise
    found = write_results(location, search)
    print_text(found.text())
    if found.best is None and found.done == len(found.rows):
        raise CheckFailedError(f"{location.out}: no trial was completed; see {MARKDOWN} there for the reasons")


def _search(arguments: argparse.Namespace) -> tuple[Search, Path]:
    recipe = load_recipe(arguments.config)
    if arguments.weights is not None:
        recipe = with_weights(recipe, arguments.weights)
    search = load_search(arguments.config, recipe)
    return search, arguments.out or Path("runs") / recipe.name


def _check_packages() -> None:
    """Raise MissingExtraError if a package that this process or a worker needs is missing."""
    for package in ("optuna", "sqlalchemy", "alembic"):
        try:
            importlib.import_module(package)
        except ModuleNotFoundError as error:
            raise MissingExtraError((error.name or package).partition(".")[0], "tune") from error
    check_packages()


def _check_folder(out: Path, *, resume: bool, storage: str | None) -> None:
    """Refuse a folder that does not belong to a search, before anything is read or created."""
    if (out / CONFIG).exists():
        raise ConfigError(f"{out}: holds a run, not a search; choose another --out")
    if storage is not None and (out / STUDY).exists():
        raise ConfigError(f"{out}: holds the study of a search without --storage; choose another --out")
    if storage is not None or (out / STUDY).exists():
        return
    if (out / TRIALS).exists():
        raise InputError(f"{out}: holds trials but no {STUDY}; restore a copy of it, or choose another --out")
    if resume:
        raise InputError(f"{out}: nothing to resume: it holds no {STUDY}")


def _open(location: StudyLocation, search: Search, rows_sha256: str, *, resume: bool) -> None:
    """Create the study, continue it, or join its workers. Raises ConfigError for a study of another search."""
    from optuna.storages import fail_stale_trials

    out = location.out
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make this folder: {error.strerror}") from error
    with alone(out / LOCK):
        if not study_exists(location):
            create_study(location, search, rows_sha256)
    study = open_study(location)
    check_same_search(location, study, search, rows_sha256)
    with storage_errors(location):
        fail_stale_trials(study)
        states = {attempt.state.name for attempt in study.get_trials(deepcopy=False)}
    if states and "RUNNING" not in states and not resume:
        raise ConfigError(f"{location}: already holds a search; continue with --resume, or choose another --out")
