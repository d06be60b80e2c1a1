"""``fer-edge train``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fer_edge.errors import ConfigError, InputError
from fer_edge.system.messages import printable
from fer_train.backend import backend_for_training, check_packages, load_keras
from fer_train.distributed.addresses import check_coordinator, check_own_name
from fer_train.distributed.strategy import ProcessRank, SingleProcessStrategy, connect
from fer_train.distributed.supervisor import run_supervised
from fer_train.locks import is_held
from fer_train.recipe.recipe import Recipe, load_recipe, with_weights
from fer_train.training.run_folder.files import CONFIG, LOCK
from fer_train.training.run_folder.folder import check_run, in_use
from fer_train.training.tracking import check_tracking

_WAIT_S = 300.0


def run(arguments: argparse.Namespace) -> int:
    """Train as the recipe says; print the path of the final model."""
    recipe = _recipe(arguments)
    rank = _rank(arguments, recipe)
    try:
        if rank is not None:
            if rank.rank == 0:
                check_coordinator(rank.coordinator)
            check_own_name()
            return run_supervised(_train_distributed, arguments, rank)
        return _train(arguments, recipe, SingleProcessStrategy)
    except KeyboardInterrupt:
        out = _out(arguments, recipe)
        if rank is not None and rank.rank:
            sys.stderr.write("\nstopped; the last whole epoch is kept: continue with --resume\n")
        elif (out / CONFIG).exists():  # it does not before the first epoch, while weights are downloaded
            sys.stderr.write(f"\nstopped; the last whole epoch is kept: continue with --resume --out {out}\n")
        raise


def _train_distributed(arguments: argparse.Namespace, connected: Callable[[], None]) -> int:
    """Train as one of several processes, in a child of the process of ``run``."""
    recipe = _recipe(arguments)
    rank = _rank(arguments, recipe)
    assert rank is not None  # ``run`` has checked it

    def make_strategy() -> SingleProcessStrategy:
        strategy = connect(rank, recipe.loop.batch_size)
        connected()
        return strategy

    return _train(arguments, recipe, make_strategy, rank)


def _train(
    arguments: argparse.Namespace,
    recipe: Recipe,
    make_strategy: Callable[[], SingleProcessStrategy],
    rank: ProcessRank | None = None,
) -> int:
    out = _out(arguments, recipe)
    if rank is None or rank.rank == 0:
        check_run(recipe, out, resume=arguments.resume, start=arguments.start)
        if is_held(out / LOCK):
            raise InputError(in_use(out))
    check_packages()
    check_tracking(recipe.tracking)
    logging.getLogger("fer_train").setLevel(logging.INFO)
    from fer_train.data.dataset import load_data
    from fer_train.training.inputs.targets import training_targets

    dataset = load_data(recipe.data, arguments.data, skip_bad=arguments.skip_bad_rows)
    targets = training_targets(recipe.targets, dataset, arguments.data)
    # Last, since it takes seconds: report errors in the rest before it.
    load_keras("jax" if rank else backend_for_training())
    strategy = make_strategy()
    from fer_train.training.loop import train

    model = train(
        recipe,
        dataset,
        out,
        targets=targets,
        resume=arguments.resume,
        start=arguments.start,
        allow_other_data=arguments.allow_other_data,
        strategy=strategy,
    )
    if strategy.is_main:
        sys.stdout.write(f"{printable(str(model))}\n")
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    recipe = load_recipe(arguments.config)
    return recipe if arguments.weights is None else with_weights(recipe, arguments.weights)


def _out(arguments: argparse.Namespace, recipe: Recipe) -> Path:
    return arguments.out or Path("runs") / recipe.name


def _rank(arguments: argparse.Namespace, recipe: Recipe) -> ProcessRank | None:
    """Return the rank of this process; None if only one process trains. Raises ConfigError for wrong usage."""
    given = (arguments.coordinator, arguments.processes, arguments.process)
    if given == (None, None, None) and arguments.wait is None:
        return None
    if None in given:
        raise ConfigError("--coordinator, --processes and --process go together; without them one process trains")
    rank = ProcessRank(*given, wait_s=_WAIT_S if arguments.wait is None else arguments.wait)
    if rank.processes < 2:
        raise ConfigError(f"--processes {rank.processes}: must be 2 or more; without it one process trains")
    if not 0 <= rank.rank < rank.processes:
        raise ConfigError(f"--process {rank.rank}: must be in 0..{rank.processes - 1}, one number for each process")
    if not 1 <= rank.wait_s <= 86400:
        raise ConfigError(f"--wait {rank.wait_s:g}: must be in 1..86400 seconds")
    if os.environ.get("KERAS_BACKEND", "jax") != "jax":
        raise ConfigError(
            f"KERAS_BACKEND={os.environ['KERAS_BACKEND']}: several processes train together on JAX alone; set it to jax"
        )
    if recipe.targets.teacher_models:
        raise ConfigError(
            "targets.teacher_models: several processes cannot use networks as teachers; write their soft labels with "
            "`fer-edge data soft-labels`, and name that file in targets.teacher_labels"
        )
    if recipe.loop.batch_size % rank.processes:
        raise ConfigError(
            f"loop.batch_size {recipe.loop.batch_size} cannot be shared by {rank.processes} processes: "
            f"make it a multiple of {rank.processes}"
        )
    return rank
