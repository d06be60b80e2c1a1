"""The work of ``fer-edge train``."""

from __future__ import annotations

import argparse
import importlib.util
import logging
import sys
from pathlib import Path

from fer_edge.errors import MissingExtraError
from fer_train.backend import load_keras
from fer_train.config import load_recipe, with_weights
from fer_train.run_folder import check_run


def run(arguments: argparse.Namespace) -> int:
    """Train as the recipe says; prints the kept model's path and its PublicTest accuracy."""
    recipe = load_recipe(arguments.config)
    if arguments.weights is not None:
        recipe = with_weights(recipe, arguments.weights)
    out: Path = arguments.out or Path("runs") / recipe.name
    check_run(recipe, out, resume=arguments.resume, start=arguments.start)
    for package in ("keras", "matplotlib", "sklearn", "tqdm"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train")
    logging.getLogger("fer_train").setLevel(logging.INFO)
    from fer_train.dataset import load_data
    from fer_train.targets import training_targets

    dataset = load_data(recipe.data, arguments.data, skip_bad=arguments.skip_bad_rows)
    targets = training_targets(recipe.targets, dataset, arguments.data)
    # Last, since it takes seconds: what is wrong with the rest is told before it.
    load_keras()
    from fer_train.train import train

    try:
        model = train(recipe, dataset, out, targets=targets, resume=arguments.resume, start=arguments.start)
    except KeyboardInterrupt:
        sys.stderr.write(f"\nstopped; the last whole epoch is kept: go on with --resume --out {out}\n")
        raise
    sys.stdout.write(f"{model}\n")
    return 0
