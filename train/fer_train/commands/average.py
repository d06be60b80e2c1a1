"""``fer-edge average``."""

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
"""Entries that must be equal in the records of all runs, in addition to the hash of the data."""


def run(arguments: argparse.Namespace) -> int:
    """Write the mean of the runs' weights as a new run; print the path of the model."""
    if arguments.out.exists() and not (arguments.out.is_dir() and not any(arguments.out.iterdir())):
        raise InputError(f"{arguments.out}: already exists; choose another --out")
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
    """Return the record of each of the finished ``runs``, with its recipe as "config". Loads no model.

    Raises:
        InputError: if a folder is not a finished run, or is named twice.
        ModelError: if the runs have different networks or data.
    """
    if len({run.resolve() for run in runs}) < max(2, len(runs)):
        raise InputError(f"{', '.join(map(str, runs))}: give two or more runs, each once")
    records = []
    for run in runs:
        record = record_of_run(model_file(run)) if run.is_dir() else None
        if record is None or not (run / CONFIG).is_file():
            raise InputError(f"{run}: not the folder of a finished run: it needs {CONFIG}, {RUN} and {MODEL}")
        records.append({**record, "config": read_toml(run / CONFIG)})
    first = records[0]
    for run, record in zip(runs, records, strict=True):
        for key in _SHARED:
            if record.get(key) != first.get(key):
                raise ModelError(f"{run}: its {key} are {record.get(key)}, those of {runs[0]} {first.get(key)}")
        if _rows(record) != _rows(first):
            raise ModelError(f"{run}: was trained on other rows than {runs[0]}: {_rows(record)} and {_rows(first)}")
    return records


def _rows(record: dict[str, Any]) -> Any:
    data = record.get("dataset")
    return data.get("rows_sha256") if isinstance(data, dict) else None
