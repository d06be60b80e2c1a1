"""The final model of a run, its accuracy, and the record of how it was made."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import keras
import numpy as np

from fer_edge.system.files import atomic_path, write_text_atomically
from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.dataset import PUBLIC_TEST, Dataset, Split
from fer_train.networks.layers import NORM_IMAGES, count_macs, renew_norm
from fer_train.networks.model_files import predict_logits
from fer_train.networks.network import Network
from fer_train.recipe.recipe import Recipe
from fer_train.training.inputs.augmentation import degrade_batch, training_batch
from fer_train.training.inputs.batches import TrainingSet
from fer_train.training.run_folder.files import BEST, MODEL, RUN
from fer_train.training.run_folder.history import Progress
from fer_train.training.run_folder.mean_weights import read_mean

log = logging.getLogger(__name__)


def validate(model: Any, split: Split) -> dict[str, float]:
    """Return loss (cross-entropy without label smoothing) and top-1 accuracy on the images of ``split``."""
    return accuracy_of(predict_logits(model, split.images), split)


def accuracy_of(logits: Float32Array, split: Split) -> dict[str, float]:
    """Return what ``validate`` does, for ``logits`` [N, labels] of the images of ``split``."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return {
        "val_loss": float(-log_probability[np.arange(len(logits)), split.labels].mean()),
        "val_accuracy": float((logits.argmax(axis=1) == split.labels).mean()),
    }


def write_final_model(
    recipe: Recipe,
    network: Network,
    dataset: Dataset,
    run: Path,
    progress: Progress,
    training: TrainingSet,
    made_by: dict[str, Any],
) -> Path:
    """Write the run's model for inference, of fixed input size, and its record with ``made_by``; return its path.

    This is the model of the best epoch on PublicTest, or, with ``loop.averaged_epochs``, the mean of the last epochs.
    ``training`` is the training set of the last epoch.
    """
    if recipe.loop.averaged_epochs:
        final, epochs = _averaged(recipe, network, run, training)
        chosen, shown = {"averaged_epochs": epochs}, f"the mean of {epochs} epochs' weights"
    else:
        final, epoch = _best(network, run, progress)
        chosen, shown = {"best_epoch": epoch}, f"epoch {epoch}"
    made_by = {**made_by, "epochs": progress.epoch, **chosen}
    right = write_model(final, run, dataset, recipe.name, len(training), made_by)
    log.info("kept %s: %.2f %% right on %s", shown, 100 * right, dataset.shown(PUBLIC_TEST))
    return run / MODEL


def write_model(
    model: Any, run: Path, dataset: Dataset, name: str, training_images: int, made_by: dict[str, Any]
) -> float:
    """Write the Keras ``model`` and its record to the folder ``run``, and return its top-1 accuracy on PublicTest.

    Args:
        model: The model.
        run: The folder.
        dataset: The data set that it was trained on.
        name: The recipe's name.
        training_images: Number of images of ``dataset`` that it was trained on.
        made_by: More entries of the record.
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


def _best(network: Network, run: Path, progress: Progress) -> tuple[Any, int]:
    """Return the model of the best epoch on PublicTest, and the epoch from 1."""
    best = progress.best
    if best is None:
        raise AssertionError("a run has one epoch at least")
    return network.for_inference(keras.models.load_model(run / BEST, compile=False)), int(best["epoch"])


def _averaged(recipe: Recipe, network: Network, run: Path, training: TrainingSet) -> tuple[Any, int]:
    """Return the model with the mean weights of the last epochs, and their number."""
    epochs, mean = read_mean(run)
    model = network.for_training(recipe.loop.epochs - 1)
    model.set_weights(mean)
    chosen = np.random.default_rng(recipe.loop.seed).permutation(len(training))[:NORM_IMAGES]
    model = network.for_validation(model)
    images = training.images[np.sort(chosen)]
    renew_norm(model, _augmented(recipe, images) if recipe.loop.norm_images == "augmented" else images)
    return network.for_inference(model), epochs


def _augmented(recipe: Recipe, images: UInt8Array) -> Float32Array:
    """Return uint8 ``images`` [N, H, W] as the last epoch gets them, float32 [N, S, S]."""
    random = np.random.default_rng(recipe.loop.seed)
    found = []
    for batch in np.array_split(images, -(-len(images) // recipe.loop.batch_size)):
        targets = np.zeros((len(batch), 1), np.float32)  # they are blended too, and not needed
        blended, _ = training_batch(batch, targets, recipe.loop.sizes[-1], recipe.augment, random)
        found.append(degrade_batch(blended, recipe.augment, random)[..., 0])
    return np.concatenate(found)
