"""The training loop, top to bottom: data, model, optimizer, epochs, checkpoints, the kept model.

Backend-neutral Keras 3 (``KERAS_BACKEND=tensorflow|jax|torch``). ``fer_train.run_folder`` says what a run leaves.
"""

from __future__ import annotations

import contextlib
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fer_edge.errors import ConfigError, ModelError
from fer_edge.files import atomic_path, write_text_atomically
from fer_edge.types import Float32Array
from fer_train.architectures.architecture import Architecture
from fer_train.backend import predict_logits
from fer_train.batches import TrainingBatches, TrainingSet
from fer_train.config import LoopSettings, Recipe
from fer_train.dataset import PUBLIC_TEST, TRAINING, Dataset, Split, trainable_rows
from fer_train.model import count_macs
from fer_train.parallel import Alone, facts_of
from fer_train.provenance import git_revision
from fer_train.run_folder import BEST, CHECKPOINT, MODEL, RUN, Progress, check_run, open_run, save_epoch
from fer_train.torch_norm import FusedBatchNormalization

log = logging.getLogger(__name__)


def train(  # noqa: PLR0913 - all but three have a default, and go by their names
    recipe: Recipe,
    dataset: Dataset,
    run: Path,
    *,
    targets: Callable[[int], Float32Array] | None = None,
    resume: bool = False,
    start: Path | None = None,
    group: Alone | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train ``recipe`` on ``dataset`` into the folder ``run`` and return the path of the kept model.

    ``targets`` tells for an epoch (from 0) the distributions to learn, float32 [Training rows, labels]; None takes
    the labels. Rows of Training whose pixels also stand in another split are left out. ``resume`` and ``start`` as for
    ``open_run``, which says what is raised. ``group`` is the processes that this one trains with (default: none).
    ``on_epoch`` gets each epoch's line of the history once that is saved; what it raises ends the run there, so that it
    can be resumed.
    """
    group = group or Alone()
    revision = git_revision()  # of the code that is about to run, not of what the checkout holds hours later
    training_in, validation = _splits(dataset, targets)
    network = Architecture(recipe, len(dataset.labels), validation.images.shape[1:])
    last = recipe.loop.epochs - 1
    group.agree(lambda: facts_of(recipe, [training_in(0), training_in(last)], revision))
    resumed = group.from_first(lambda: check_run(recipe, run, resume=resume, start=start)[0].epoch) > 0
    with group.apart():
        network.prepare(resumed=resumed)
    progress = Progress(group.from_first(lambda: open_run(recipe, run, resume=resume, start=start).history))
    if progress.epoch:
        log.info("resuming after epoch %d", progress.epoch)
    model: Any = None
    stage: tuple[str, int, int | None] | None = None
    for epoch in range(progress.epoch, recipe.loop.epochs):
        started = time.monotonic()
        now = (recipe.loop.precision_at(epoch), network.phase(epoch), network.built_side(epoch))
        if now != stage:
            stage = now
            model = _compiled(network, recipe, epoch)
            if epoch:
                # The optimizer's state is that of the layers that learned; of others it begins anew.
                same = network.phase(epoch - 1) == network.phase(epoch)
                _restore(network, model, run / CHECKPOINT, group, optimizer=same)
        _seed_dropout(model, recipe.loop.seed, epoch)
        training = training_in(epoch)
        batches = TrainingBatches(training, recipe, epoch, group.part)
        with _progress_bar(len(batches), f"epoch {epoch + 1}/{recipe.loop.epochs}") as bar:
            # shuffle=False: the batches are shuffled images already, and Keras' own order would not survive --resume.
            fitted = model.fit(
                batches,
                initial_epoch=epoch,
                epochs=epoch + 1,
                verbose=0,
                callbacks=[_RateSchedule(recipe.loop, epoch, len(batches), network.rate_factor(epoch)), bar],
                shuffle=False,
            )
        group.settle(model)
        line = {
            "epoch": epoch + 1,
            "loss": float(fitted.history["loss"][0]),
            "accuracy": float(fitted.history["accuracy"][0]),
            **group.from_first(lambda: _validate(network.for_validation(group.own_copy(model)), validation)),  # noqa: B023 - called at once
            "size": recipe.loop.size_at(epoch),
            "seconds": round(time.monotonic() - started, 1),
        }
        progress.add(line)
        falls_next = 0 < recipe.loop.cooldown_epochs == recipe.loop.epochs - progress.epoch
        group.from_first(lambda: save_epoch(model, run, progress, held=falls_next))  # noqa: B023
        _tell(line, recipe.loop.epochs)
        if on_epoch:
            on_epoch(line)
    about = {"training_images": len(training_in(last)), "git": revision, "processes": group.processes}
    return Path(group.from_first(lambda: str(_keep_best(recipe, network, dataset, run, progress, about))))


def _tell(line: dict[str, Any], epochs: int) -> None:
    """An epoch as a person wants it; ``history.jsonl`` has every digit."""
    log.info(
        "epoch %d of %d: loss %.4f, on PublicTest %.4f; right %.2f %%, on PublicTest %.2f %%; %.1f s",
        line["epoch"],
        epochs,
        line["loss"],
        line["val_loss"],
        100 * line["accuracy"],
        100 * line["val_accuracy"],
        line["seconds"],
    )


def _splits(
    dataset: Dataset, targets: Callable[[int], Float32Array] | None
) -> tuple[Callable[[int], TrainingSet], Split]:
    """What to train on in an epoch, and what to validate on."""
    kept = trainable_rows(dataset)
    everything = dataset.splits[TRAINING]
    dropped = len(everything.images) - len(kept)
    log.info("%d Training images, %d left out because they also stand in a test split", len(kept), dropped)
    images, labels = everything.images[kept], everything.labels[kept]
    plain = everything.distributions(len(dataset.labels))[kept]
    weights = None if everything.weights is None else everything.weights[kept]

    def training_in(epoch: int) -> TrainingSet:
        return TrainingSet(images, labels, targets(epoch)[kept] if targets else plain, weights)

    return training_in, dataset.splits[PUBLIC_TEST]


def _compiled(network: Architecture, recipe: Recipe, epoch: int) -> Any:
    """The model as it learns in ``epoch``, with its optimizer built, so that a checkpoint can be put into it."""
    # Each time, so that the processes of a group begin the same whatever else one of them built.
    keras.utils.set_random_seed(recipe.loop.seed)
    with _precision(recipe.loop.precision_at(epoch)):
        model = network.for_training(epoch, _fast_norm())
    optimizer = _optimizer(recipe.loop)
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


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Layers made in this block compute in ``name``, and keep float32 variables."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "bfloat16" else name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _fast_norm() -> Callable[..., Any] | None:
    """A quicker BatchNormalization where Keras' own is slow: under PyTorch."""
    return FusedBatchNormalization if keras.backend.backend() == "torch" else None


def _optimizer(loop: LoopSettings) -> Any:
    if loop.optimizer == "sgd":
        return keras.optimizers.SGD(loop.learning_rate, momentum=0.9, nesterov=True, weight_decay=loop.weight_decay)
    return keras.optimizers.AdamW(loop.learning_rate, weight_decay=loop.weight_decay)


class _RateSchedule(keras.callbacks.Callback):  # type: ignore[misc]
    """Sets the learning rate before each step: the recipe's schedule, the same on every backend."""

    def __init__(self, loop: LoopSettings, epoch: int, steps: int, factor: float) -> None:
        super().__init__()
        self._loop, self._epoch, self._steps, self._factor = loop, epoch, steps, factor

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        rate = self._loop.rate_at(self._epoch + batch / self._steps)
        self.model.optimizer.learning_rate = rate * self._factor


def _restore(network: Architecture, model: Any, checkpoint: Path, group: Alone, *, optimizer: bool) -> None:
    """Put the weights of ``checkpoint`` into ``model``, and with ``optimizer`` that one's state too."""

    def variables(of: Any) -> list[Any]:
        return [*of.weights, *(of.optimizer.variables if optimizer else [])]

    def values(of: Any) -> list[npt.NDArray[Any]]:
        return [keras.ops.convert_to_numpy(variable) for variable in variables(of)]

    def saved() -> list[npt.NDArray[Any]]:
        found = keras.models.load_model(checkpoint)
        network.check_same(found, model)
        return values(found)

    try:
        restored = group.arrays_from_first(saved, values(model))
        for variable, value in zip(variables(model), restored, strict=True):
            variable.assign(value)
    except ConfigError:
        raise
    except (OSError, ValueError, KeyError, AttributeError) as error:
        reason = str(error).strip().partition("\n")[0]
        raise ModelError(f"{checkpoint}: cannot resume from it: {reason}") from None


def _seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """The random state of Dropout and the like is no weight, so it begins anew from each epoch's number."""
    if keras.backend.backend() == "torch":
        import torch

        # There, Dropout draws from the state that all of PyTorch shares.
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    states = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for number, state in enumerate(states):
        state.assign([(seed + number) % 2**32, epoch])


def _validate(model: Any, split: Split) -> dict[str, float]:
    """Loss (plain cross-entropy, no smoothing) and top-1 accuracy on unchanged images at full size."""
    logits = predict_logits(model, split.images)
    shifted = logits - logits.max(axis=1, keepdims=True)
    log_probability = shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))
    return {
        "val_loss": float(-log_probability[np.arange(len(logits)), split.labels].mean()),
        "val_accuracy": float((logits.argmax(axis=1) == split.labels).mean()),
    }


def _keep_best(
    recipe: Recipe,
    network: Architecture,
    dataset: Dataset,
    run: Path,
    progress: Progress,
    about: dict[str, Any],
) -> Path:
    """Write the best epoch as an inference model of fixed input size, and what the run was: ``about`` and more."""
    final = network.for_keeping(keras.models.load_model(run / BEST, compile=False))
    with atomic_path(run / MODEL) as temporary:
        final.save(temporary)
    best = progress.best
    if best is None:
        raise AssertionError("a run has one epoch at least")
    summary = {
        "name": recipe.name,
        "dataset": {
            "name": dataset.name,
            "rows_sha256": dataset.rows_sha256,
            "training_images": about["training_images"],
        },
        "labels": list(dataset.labels),
        "git": about["git"],
        "backend": keras.backend.backend(),
        "keras": keras.__version__,
        "processes": about["processes"],
        "params": final.count_params(),
        "macs": count_macs(final),
        "epochs": progress.epoch,
        "best_epoch": best["epoch"],
        "public_test_accuracy": best["val_accuracy"],
    }
    write_text_atomically(run / RUN, json.dumps(summary, indent=2) + "\n")
    log.info("kept epoch %d: %.2f %% right on PublicTest", best["epoch"], 100 * best["val_accuracy"])
    return run / MODEL


@contextlib.contextmanager
def _progress_bar(steps: int, description: str) -> Iterator[keras.callbacks.Callback]:
    from tqdm import tqdm

    with tqdm(total=steps, desc=description, unit="step", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance(step: int, logs: dict[str, float] | None = None) -> None:
            bar.set_postfix({name: f"{value:.3f}" for name, value in (logs or {}).items()}, refresh=False)
            bar.update()

        yield keras.callbacks.LambdaCallback(on_train_batch_end=advance)
