"""What is left of a run: the model that is kept, how right it is, and a record of what made it."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_edge.system.files import atomic_path, write_text_atomically
from fer_train.backend import predict_logits
from fer_train.data.dataset import PUBLIC_TEST, Dataset, Split
from fer_train.networks.architecture import Architecture
from fer_train.networks.fer_edge import count_macs
from fer_train.recipe.recipe import Recipe
from fer_train.training.averaging import NORM_IMAGES, read_mean, renew_norm
from fer_train.training.batches import TrainingSet
from fer_train.training.run_folder import BEST, MODEL, RUN, Progress

log = logging.getLogger(__name__)


def validate(model: Any, split: Split) -> dict[str, float]:
    """Loss (plain cross-entropy, no smoothing) and top-1 accuracy on unchanged images at full size."""
    logits = predict_logits(model, split.images)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return {
        "val_loss": float(-log_probability[np.arange(len(logits)), split.labels].mean()),
        "val_accuracy": float((logits.argmax(axis=1) == split.labels).mean()),
    }


def keep(
    recipe: Recipe,
    network: Architecture,
    dataset: Dataset,
    run: Path,
    progress: Progress,
    training: TrainingSet,
    about: dict[str, Any],
) -> Path:
    """Write the run's model for inference, of fixed input size, and ``about`` it what it was trained on and how.

    ``training`` is what the last epoch learned. The model is the epoch best on PublicTest, or, with
    ``loop.averaged_epochs``, the mean of the last ones.
    """
    which: dict[str, int]
    if recipe.loop.averaged_epochs:
        final, epochs = _averaged(recipe, network, run, training)
        which, told = {"averaged_epochs": epochs}, f"the mean of {epochs} epochs' weights"
    else:
        final, epoch = _best(network, run, progress)
        which, told = {"best_epoch": epoch}, f"epoch {epoch}"
    made_by = {**about, "epochs": progress.epoch, **which}
    right = write_model(final, run, dataset, recipe.name, len(training), made_by)
    log.info("kept %s: %.2f %% right on %s", told, 100 * right, dataset.shown(PUBLIC_TEST))
    return run / MODEL


def write_model(
    model: Any, run: Path, dataset: Dataset, name: str, training_images: int, made_by: dict[str, Any]
) -> float:
    """Write the Keras ``model`` to the folder ``run`` with a record of it, and return its top-1 on PublicTest.

    ``name`` is the recipe's, ``training_images`` how many images of ``dataset`` it learned, and ``made_by`` what the
    record tells of how it was made.
    """
    with atomic_path(run / MODEL) as temporary:
        model.save(temporary)
    right = validate(model, dataset.splits[PUBLIC_TEST])["val_accuracy"]
    record = {
        "name": name,
        "dataset": {"name": dataset.name, "rows_sha256": dataset.rows_sha256, "training_images": training_images},
        "labels": list(dataset.labels),
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "params": model.count_params(),
        "macs": count_macs(model),
        **made_by,
        f"{dataset.key(PUBLIC_TEST)}_accuracy": right,
    }
    write_text_atomically(run / RUN, json.dumps(record, indent=2) + "\n")
    return right


def _best(network: Architecture, run: Path, progress: Progress) -> tuple[Any, int]:
    """The epoch best on PublicTest, and which one it is."""
    best = progress.best
    if best is None:
        raise AssertionError("a run has one epoch at least")
    return network.for_keeping(keras.models.load_model(run / BEST, compile=False)), int(best["epoch"])


def _averaged(recipe: Recipe, network: Architecture, run: Path, training: TrainingSet) -> tuple[Any, int]:
    """The mean of the last epochs' weights, and of how many epochs it is."""
    epochs, mean = read_mean(run)
    model = network.for_training(recipe.loop.epochs - 1)
    model.set_weights(mean)
    chosen = np.random.default_rng(recipe.loop.seed).permutation(len(training))[:NORM_IMAGES]
    model = network.for_validation(model)
    renew_norm(model, training.images[np.sort(chosen)])
    return network.for_keeping(model), epochs
