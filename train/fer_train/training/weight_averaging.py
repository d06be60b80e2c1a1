"""Average the weights of several runs (a "model soup", Wortsman et al., arXiv:2203.05482).

Runs that start from the same weights and use different recipes end in one valley of the loss, which is often lower
between them. The mean is one network of the same size, so that it costs the device nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import ModelError, OutputError
from fer_edge.settings.toml_files import dump_toml
from fer_edge.system.files import write_text_atomically
from fer_train.data.dataset import PUBLIC_TEST, TRAINING, Dataset, trainable_rows
from fer_train.networks.layers import NORM_IMAGES, renew_norm
from fer_train.networks.model_files import check_contract, load_model
from fer_train.provenance import git_revision
from fer_train.training.final_model import write_model
from fer_train.training.run_folder.files import CONFIG, model_file, now_utc

log = logging.getLogger(__name__)


def average_runs(runs: Sequence[Path], records: Sequence[dict[str, Any]], dataset: Dataset, out: Path) -> None:
    """Write the mean of the final models of ``runs`` to ``out``, the folder of a new run.

    BatchNorm's statistics are computed again from Training images. ``out`` gets the model, the recipe of the first run,
    and a record with all recipes under "mean_of".

    Args:
        runs: Folders of finished runs.
        records: Their records, each with its recipe as "config".
        dataset: The data set that they were trained on.
        out: The folder to create.

    Raises:
        ModelError: if the networks or the data differ.
        OutputError: if ``out`` cannot be written.
    """
    started = now_utc().isoformat()
    first = records[0]
    if first["dataset"]["rows_sha256"] != dataset.rows_sha256:
        raise ModelError(
            f"{runs[0]}: learned other data than {dataset.name}, whose rows_sha256 is {dataset.rows_sha256}"
        )
    revision = git_revision()
    files = [model_file(run) for run in runs]
    model = load_model(files[0])
    check_contract(files[0], model, dataset.labels)
    model.set_weights(_mean(model, files))
    rows = trainable_rows(dataset)
    every = max(1, len(rows) // NORM_IMAGES)
    renew_norm(model, dataset.splits[TRAINING].images[rows[::every][:NORM_IMAGES]])
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{out}: cannot make this folder: {error.strerror}") from error
    write_text_atomically(out / CONFIG, dump_toml(first["config"]))
    made_by = {"started_at": started, "git": revision, "mean_of": [_ingredient(each) for each in records]}
    right = write_model(model, out, dataset, first["name"], len(rows), made_by)
    log.info("the mean of %d runs: %.2f %% right on %s", len(runs), 100 * right, dataset.shown(PUBLIC_TEST))


def _mean(model: Any, files: Sequence[Path]) -> list[Any]:
    """Return the mean of the weights in ``files``; ``model`` is the first of them."""
    total = [array.astype(np.float64) for array in model.get_weights()]
    kinds = [type(layer) for layer in model.layers]
    for file in files[1:]:
        other = load_model(file)
        weights = other.get_weights()
        same = [array.shape for array in weights] == [array.shape for array in total]
        if not same or [type(layer) for layer in other.layers] != kinds:
            raise ModelError(f"{file}: another network than {files[0]}'s; they cannot be averaged")
        total = [array + more for array, more in zip(total, weights, strict=True)]
    return [(array / len(files)).astype(np.float32) for array in total]


def _ingredient(record: dict[str, Any]) -> dict[str, Any]:
    """Return the entry of one run in the record of the mean: its recipe, code and accuracy."""
    made_by = ("git", "backend", "keras", "epochs", "best_epoch", "averaged_epochs", "mean_of")
    keys = (*made_by, "public_test_accuracy", "validation_accuracy")
    return {"config": record["config"], **{key: record[key] for key in keys if key in record}}
