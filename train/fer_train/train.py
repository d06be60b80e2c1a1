"""The training loop, top to bottom: data, model, optimizer, epochs, checkpoints, the kept model.

Backend-neutral Keras 3 (``KERAS_BACKEND=tensorflow|jax|torch``). A run is a folder:

    config.toml       the resolved recipe            history.jsonl   one line an epoch
    checkpoint.keras  the latest epoch, resumable    best.keras      the epoch best on PublicTest
    model.keras       the best, for one fixed input  run.json        what it was trained on, by which code
    curves.png        loss and accuracy by epoch
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fer_edge import strict_toml
from fer_edge.errors import ConfigError, InputError, ModelError, OutputError
from fer_edge.files import atomic_path, write_text_atomically
from fer_edge.types import UInt8Array
from fer_train.batches import TrainingBatches
from fer_train.config import LoopSettings, Recipe, load_recipe
from fer_train.curves import draw_curves
from fer_train.dataset import Dataset, Split, leak_free_training
from fer_train.model import build_model, count_macs
from fer_train.provenance import git_revision

log = logging.getLogger(__name__)

CHECKPOINT, BEST, MODEL = "checkpoint.keras", "best.keras", "model.keras"
CONFIG, HISTORY, RUN, CURVES = "config.toml", "history.jsonl", "run.json", "curves.png"
TRAINING_SPLIT, VALIDATION_SPLIT = "Training", "PublicTest"


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands: epochs done and one dictionary for each."""

    history: list[dict[str, float]]

    @property
    def epoch(self) -> int:
        """The next epoch, from 0."""
        return len(self.history)

    @property
    def best_accuracy(self) -> float:
        """Highest PublicTest accuracy so far; -1 before the first epoch."""
        return max((line["val_accuracy"] for line in self.history), default=-1.0)


def train(recipe: Recipe, dataset: Dataset, run: Path, *, resume: bool = False) -> Path:
    """Train ``recipe`` on ``dataset`` into the folder ``run`` and return the path of the kept model.

    Rows of Training whose pixels also stand in another split are left out. Raises ConfigError when ``run``
    holds another recipe, or a run and ``resume`` is off; OutputError when the folder cannot be written.
    """
    revision = git_revision()  # of the code that is about to run, not of what the checkout holds hours later
    progress = _open_run(recipe, run, resume)
    training, validation = _splits(dataset)
    keras.utils.set_random_seed(recipe.loop.seed)
    model = _compiled(recipe, len(dataset.labels), len(training.images))
    if progress.epoch:
        _restore(model, run / CHECKPOINT)
        log.info("resuming after epoch %d", progress.epoch)
    for epoch in range(progress.epoch, recipe.loop.epochs):
        started = time.monotonic()
        _seed_dropout(model, recipe.loop.seed, epoch)
        batches = TrainingBatches(training.images, training.labels, len(dataset.labels), recipe, epoch)
        with _progress_bar(len(batches), f"epoch {epoch + 1}/{recipe.loop.epochs}") as callback:
            # shuffle=False: the batches are shuffled images already, and Keras' own order would not survive --resume.
            fitted = model.fit(
                batches, initial_epoch=epoch, epochs=epoch + 1, verbose=0, callbacks=[callback], shuffle=False
            )
        line = {
            "epoch": epoch + 1,
            "loss": float(fitted.history["loss"][0]),
            "accuracy": float(fitted.history["accuracy"][0]),
            **_validate(model, validation),
            "size": recipe.loop.size_at(epoch),
            "seconds": round(time.monotonic() - started, 1),
        }
        is_best = line["val_accuracy"] > progress.best_accuracy
        progress.history.append(line)
        _save_epoch(model, run, progress, is_best)
        log.info("%s", json.dumps(line))
    return _keep_best(recipe, dataset, run, progress, len(training.images), revision)


def _open_run(recipe: Recipe, run: Path, resume: bool) -> Progress:
    """Create the run's folder, or check that the one there is this recipe's; then say how far it is."""
    config = run / CONFIG
    if config.exists():
        if not resume:
            raise ConfigError(f"{run}: already holds a run; go on with --resume, or choose another --out")
        if load_recipe(config) != recipe:
            raise ConfigError(f"{run}: holds a run of another recipe ({config} differs); choose another --out")
        return Progress(_read_history(run / HISTORY)) if (run / CHECKPOINT).exists() else Progress([])
    if resume:
        raise InputError(f"{run}: nothing to resume: it holds no {CONFIG}")
    try:
        run.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{run}: cannot make this folder: {error.strerror}") from error
    write_text_atomically(config, strict_toml.dump(strict_toml.to_table(recipe)))
    return Progress([])


def _read_history(path: Path) -> list[dict[str, float]]:
    try:
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot resume from it: {error}") from None


def _splits(dataset: Dataset) -> tuple[Split, Split]:
    for name in (TRAINING_SPLIT, VALIDATION_SPLIT):
        if name not in dataset.splits or not len(dataset.splits[name].images):
            raise InputError(f"{dataset.name}: holds no {name} images; training needs Training and PublicTest")
    kept = leak_free_training(dataset)
    everything = dataset.splits[TRAINING_SPLIT]
    if not len(kept):
        raise InputError(f"{dataset.name}: every Training image also stands in another split; nothing to train on")
    dropped = len(everything.images) - len(kept)
    log.info("%d Training images, %d left out because they also stand in a test split", len(kept), dropped)
    return Split(everything.images[kept], everything.labels[kept]), dataset.splits[VALIDATION_SPLIT]


def _compiled(recipe: Recipe, labels: int, images: int) -> Any:
    """The model for images of any size, with its optimizer built, so that a checkpoint can be put into it."""
    model = build_model(recipe.model, labels)
    steps = -(-images // recipe.loop.batch_size)
    optimizer = _optimizer(recipe.loop, steps)
    # BatchNorm's scale and offset and the biases are not decayed: pulling them to 0 only hurts.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=recipe.loop.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def _optimizer(loop: LoopSettings, steps_per_epoch: int) -> Any:
    warmup = round(loop.warmup_epochs * steps_per_epoch)
    rate = keras.optimizers.schedules.CosineDecay(
        initial_learning_rate=0.0 if warmup else loop.learning_rate,
        decay_steps=max(1, loop.epochs * steps_per_epoch - warmup),
        warmup_target=loop.learning_rate if warmup else None,
        warmup_steps=warmup,
    )
    if loop.optimizer == "sgd":
        return keras.optimizers.SGD(rate, momentum=0.9, nesterov=True, weight_decay=loop.weight_decay)
    return keras.optimizers.AdamW(rate, weight_decay=loop.weight_decay)


def _restore(model: Any, checkpoint: Path) -> None:
    """Put weights and optimizer state of ``checkpoint`` into ``model``."""
    try:
        saved = keras.models.load_model(checkpoint)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"{checkpoint}: cannot resume from it: {error}") from None
    model.set_weights(saved.get_weights())
    for variable, value in zip(model.optimizer.variables, saved.optimizer.variables, strict=True):
        variable.assign(value)


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Dropout's random state is no weight, so no checkpoint holds it: it begins anew from each epoch's number."""
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout) and layer.rate > 0:
            layer.seed_generator.state.assign([seed, epoch])


def _validate(model: Any, split: Split) -> dict[str, float]:
    """Loss (plain cross-entropy, no smoothing) and top-1 accuracy on unchanged images at full size."""
    logits = predict_logits(model, split.images)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return {
        "val_loss": float(-log_probability[np.arange(len(logits)), split.labels].mean()),
        "val_accuracy": float((logits.argmax(axis=1) == split.labels).mean()),
    }


def predict_logits(model: Any, images: UInt8Array, batch_size: int = 256) -> npt.NDArray[np.float32]:
    """Logits float32 [N, labels] of a Keras model for uint8 [N, H, W]."""
    pixels = images[..., np.newaxis].astype(np.float32)
    return np.asarray(model.predict(pixels, batch_size=batch_size, verbose=0), dtype=np.float32)


def _save_epoch(model: Any, run: Path, progress: Progress, is_best: bool) -> None:
    """The checkpoint comes first and the history last: a run cut off between the two repeats one epoch."""
    for name in (CHECKPOINT, BEST) if is_best else (CHECKPOINT,):
        with atomic_path(run / name) as temporary:
            model.save(temporary)
    write_text_atomically(run / HISTORY, "".join(json.dumps(line) + "\n" for line in progress.history))
    draw_curves(progress.history, run / CURVES)


def _keep_best(recipe: Recipe, dataset: Dataset, run: Path, progress: Progress, images: int, revision: str) -> Path:
    """Write the best epoch as an inference model of fixed input size, and what the run was."""
    height, width = dataset.splits[TRAINING_SPLIT].images.shape[1:]
    final = build_model(recipe.model, len(dataset.labels), height, width)
    final.set_weights(keras.models.load_model(run / BEST, compile=False).get_weights())
    with atomic_path(run / MODEL) as temporary:
        final.save(temporary)
    best = max(progress.history, key=lambda line: line["val_accuracy"])
    summary = {
        "name": recipe.name,
        "dataset": {"name": dataset.name, "rows_sha256": dataset.rows_sha256, "training_images": images},
        "labels": list(dataset.labels),
        "git": revision,
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "params": final.count_params(),
        "macs": count_macs(final),
        "epochs": progress.epoch,
        "best_epoch": best["epoch"],
        "public_test_accuracy": best["val_accuracy"],
    }
    write_text_atomically(run / RUN, json.dumps(summary, indent=2) + "\n")
    return run / MODEL


@contextlib.contextmanager
def _progress_bar(steps: int, description: str) -> Iterator[keras.callbacks.Callback]:
    from tqdm import tqdm

    with tqdm(total=steps, desc=description, unit="step", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance(step: int, logs: dict[str, float] | None = None) -> None:
            bar.set_postfix({name: f"{value:.3f}" for name, value in (logs or {}).items()}, refresh=False)
            bar.update()

        yield keras.callbacks.LambdaCallback(on_train_batch_end=advance)
