"""The work of ``fer-edge train``."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path

from fer_edge.errors import ConfigError, InputError
from fer_edge.system.messages import printable
from fer_train.backend import check_packages, load_keras
from fer_train.distributed.strategy import Alone, Place, check_coordinator, check_own_name, join
from fer_train.distributed.supervisor import run_supervised
from fer_train.locks import is_held
from fer_train.recipe.recipe import Recipe, load_recipe, with_weights
from fer_train.training.run_folder import CONFIG, LOCK, check_run, in_use

_WAIT_S = 300.0


def run(arguments: argparse.Namespace) -> int:
    """Train as the recipe says; prints the kept model's path and its PublicTest accuracy."""
    recipe = _recipe(arguments)
    place = _place(arguments, recipe)
    try:
        if place is not None:
            if place.process == 0:
                check_coordinator(place.coordinator)
            check_own_name()
            return run_supervised(_train_with_others, arguments, place)
        return _train(arguments, recipe, Alone)
    except KeyboardInterrupt:
        out = _out(arguments, recipe)
        if place is not None and place.process:
            sys.stderr.write("\nstopped; the last whole epoch is kept: go on with --resume\n")
        elif (out / CONFIG).exists():  # it does not before the first epoch, while weights are downloaded
            sys.stderr.write(f"\nstopped; the last whole epoch is kept: go on with --resume --out {out}\n")
        raise


def _train_with_others(arguments: argparse.Namespace, met: Callable[[], None]) -> int:
    """As one of several processes, below the one that ``run`` is in."""
    recipe = _recipe(arguments)
    place = _place(arguments, recipe)
    if place is None:
        raise AssertionError("these arguments are of one process")

    def joined() -> Alone:
        group = join(place, recipe.loop.batch_size)
        met()
        return group

    return _train(arguments, recipe, joined, place)


def _train(
    arguments: argparse.Namespace, recipe: Recipe, make_group: Callable[[], Alone], place: Place | None = None
) -> int:
    out = _out(arguments, recipe)
    if place is None or place.process == 0:
        check_run(recipe, out, resume=arguments.resume, start=arguments.start)
        if is_held(out / LOCK):
            raise InputError(in_use(out))
    check_packages()
    logging.getLogger("fer_train").setLevel(logging.INFO)
    from fer_train.data.dataset import load_data
    from fer_train.training.targets import training_targets

    dataset = load_data(recipe.data, arguments.data, skip_bad=arguments.skip_bad_rows)
    targets = training_targets(recipe.targets, dataset, arguments.data)
    # Last, since it takes seconds: what is wrong with the rest is told before it.
    load_keras("jax" if place else None)
    group = make_group()
    from fer_train.training.loop import train

    model = train(
        recipe,
        dataset,
        out,
        targets=targets,
        resume=arguments.resume,
        start=arguments.start,
        allow_other_data=arguments.allow_other_data,
        group=group,
    )
    if group.first:
        sys.stdout.write(f"{printable(str(model))}\n")
    return 0


def _recipe(arguments: argparse.Namespace) -> Recipe:
    recipe = load_recipe(arguments.config)
    return recipe if arguments.weights is None else with_weights(recipe, arguments.weights)


def _out(arguments: argparse.Namespace, recipe: Recipe) -> Path:
    return arguments.out or Path("runs") / recipe.name


def _place(arguments: argparse.Namespace, recipe: Recipe) -> Place | None:
    """Which of several processes this is; None when it is to train by itself. Raises ConfigError."""
    given = (arguments.coordinator, arguments.processes, arguments.process)
    if given == (None, None, None) and arguments.wait is None:
        return None
    if None in given:
        raise ConfigError("--coordinator, --processes and --process go together; without them one process trains")
    place = Place(*given, wait_s=_WAIT_S if arguments.wait is None else arguments.wait)
    if place.processes < 2:
        raise ConfigError(f"--processes {place.processes}: must be 2 or more; without it one process trains")
    if not 0 <= place.process < place.processes:
        raise ConfigError(
            f"--process {place.process}: must be in 0..{place.processes - 1}, one number for each process"
        )
    if not 1 <= place.wait_s <= 86400:
        raise ConfigError(f"--wait {place.wait_s:g}: must be in 1..86400 seconds")
    if os.environ.get("KERAS_BACKEND", "jax") != "jax":
        raise ConfigError(
            f"KERAS_BACKEND={os.environ['KERAS_BACKEND']}: several processes train together on JAX alone; set it to jax"
        )
    if recipe.targets.teacher_models:
        raise ConfigError(
            "targets.teacher_models: several processes cannot ask networks; keep their answers with `fer-edge data "
            "soft-labels`, and name that file in targets.teacher_labels"
        )
    if recipe.loop.batch_size % place.processes:
        raise ConfigError(
            f"loop.batch_size {recipe.loop.batch_size} cannot be shared by {place.processes} processes: "
            f"make it a multiple of {place.processes}"
        )
    return place
