"""The work of ``fer-edge average``."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_edge.errors import InputError, ModelError
from fer_edge.settings.toml_files import read_toml
from fer_edge.system.messages import printable
from fer_train.backend import check_packages, load_keras
from fer_train.data.dataset import load_data
from fer_train.recipe.recipe import load_recipe
from fer_train.training.run_folder.files import CONFIG, MODEL, RUN, model_file, record_of_run

_SHARED = ("labels", "params", "macs")
"""What the records of all runs must agree in, beside the rows they learned."""


def run(arguments: argparse.Namespace) -> int:
    """Keep the mean of the runs' weights as another run; prints the model's path."""
    if arguments.out.exists() and not (arguments.out.is_dir() and not any(arguments.out.iterdir())):
        raise InputError(f"{arguments.out}: is already there; choose another --out")
    records = read_records(arguments.runs)
    check_packages()
    logging.getLogger("fer_train").setLevel(logging.INFO)
    dataset = load_data(load_recipe(arguments.runs[0] / CONFIG).data, arguments.data)
    load_keras()
    from fer_train.training.weight_averaging import average_runs

    average_runs(arguments.runs, records, dataset, arguments.out)
    sys.stdout.write(f"{printable(str(arguments.out / MODEL))}\n")
    return 0


def read_records(runs: Sequence[Path]) -> list[dict[str, Any]]:
    """What each of the finished ``runs`` says of itself, its recipe under "config". Loads no model.

    Raises InputError for a folder that is no finished run, or one that is named twice; ModelError for runs of
    different networks or data.
    """
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise InputError(f"{', '.join(map(str, runs))}: the mean of runs takes two or more, each once")
    told = []
    for run in runs:
        record = record_of_run(model_file(run)) if run.is_dir() else None
        if record is None or not (run / CONFIG).is_file():
            raise InputError(f"{run}: no folder of a finished run: it needs {CONFIG}, {RUN} and {MODEL}")
        told.append({**record, "config": read_toml(run / CONFIG)})
    first = told[0]
    for run, record in zip(runs, told, strict=True):
        for key in _SHARED:
            if record.get(key) != first.get(key):
                raise ModelError(f"{run}: its {key} are {record.get(key)}, those of {runs[0]} {first.get(key)}")
        if _rows(record) != _rows(first):
            raise ModelError(f"{run}: learned other rows than {runs[0]}: {_rows(record)} and {_rows(first)}")
    return told


def _rows(record: dict[str, Any]) -> Any:
    data = record.get("dataset")
    return data.get("rows_sha256") if isinstance(data, dict) else None
