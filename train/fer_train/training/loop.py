"""The training loop, top to bottom: data, model, optimizer, epochs, checkpoints, the kept model.

Backend-neutral Keras 3 (``KERAS_BACKEND=tensorflow|jax|torch``). ``run_folder`` describes the files of a run.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from fer_edge.types import Float32Array
from fer_train.data.dataset import PUBLIC_TEST, TRAINING, Dataset, Split, trainable_rows
from fer_train.distributed.strategy import Alone, facts_of
from fer_train.networks.architecture import Architecture
from fer_train.provenance import git_revision
from fer_train.recipe.recipe import Recipe
from fer_train.training.batches import TrainingSet
from fer_train.training.curves import draw_curves
from fer_train.training.final_model import keep, validate
from fer_train.training.optimizer_setup import DivergedError, Learner
from fer_train.training.run_folder import (
    CURVES,
    LearnedData,
    Progress,
    check_run,
    complete_epoch,
    learned_sets,
    only_writer,
    open_run,
    save_epoch,
)
from fer_train.training.teacher import Teacher, teacher_of

log = logging.getLogger(__name__)


def train(  # noqa: PLR0913 - all but three have a default, and go by their names
    recipe: Recipe,
    dataset: Dataset,
    run: Path,
    *,
    targets: Callable[[int], Float32Array] | None = None,
    resume: bool = False,
    start: Path | None = None,
    allow_other_data: bool = False,
    group: Alone | None = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train ``recipe`` on ``dataset`` into the folder ``run`` and return the path of the kept model.

    ``targets`` tells for an epoch (from 0) the distributions to learn, float32 [Training rows, labels]; None takes
    the labels. Rows of Training whose pixels also stand in another split are left out. ``resume`` and ``start`` as for
    ``open_run``, which says what is raised. ``group`` is the processes that this one trains with (default: none).
    ``on_epoch`` gets each epoch's line of the history once that is saved; what it raises ends the run there, so that it
    can be resumed. ``allow_other_data`` goes on with a run that learned another data set so far. Raises DivergedError
    when the loss is not finite, and OutputError or InputError when ``run`` cannot be written or is in use.
    """
    group = group or Alone()
    revision = git_revision()  # of the code that is about to run, not of what the checkout holds hours later
    teacher = teacher_of(recipe.targets, dataset.labels, recipe.loop.precision) if targets else None
    training_in, validation = _splits(
        dataset, targets, lambda epoch: teacher if epoch >= recipe.targets.teacher_from else None
    )
    network = Architecture(recipe, len(dataset.labels), validation.images.shape[1:])
    last = recipe.loop.epochs - 1
    group.agree(lambda: facts_of(recipe, [training_in(0), training_in(last)], revision))
    data = LearnedData(dataset.name, dataset.rows_sha256, allow_other_data)
    resumed = group.from_first(lambda: check_run(recipe, run, resume=resume, start=start, data=data)[0].epoch) > 0
    with group.apart():
        network.prepare(dataset.labels, resumed=resumed)
    with ExitStack() as held:
        # The checks again, now that no other process can change the folder.
        group.from_first(lambda: held.enter_context(only_writer(run)))
        progress = Progress(
            group.from_first(lambda: open_run(recipe, run, resume=resume, start=start, data=data).history)
        )
        if progress.epoch:
            log.info("resuming after epoch %d", progress.epoch)
            group.from_first(lambda: complete_epoch(run, progress, recipe.loop))
        learner = Learner(recipe, network, run, group)
        for epoch in range(progress.epoch, recipe.loop.epochs):
            started = time.monotonic()
            learned = learner.learn(epoch, training_in(epoch))

            def validated() -> dict[str, float]:
                return validate(network.for_validation(group.own_copy(learner.model)), validation)

            line = {
                "epoch": epoch + 1,
                **learned,
                **group.from_first(validated),
                "size": recipe.loop.size_at(epoch),
                "seconds": round(time.monotonic() - started, 1),
            }
            if not math.isfinite(line["val_loss"]):
                raise DivergedError(epoch, None, line["val_loss"], dataset.shown(PUBLIC_TEST))
            progress.add(line)

            def saved() -> None:
                save_epoch(learner.model, run, progress, recipe.loop)
                draw_curves(progress.history, run / CURVES, dataset.split_names)

            group.from_first(saved)
            _tell(line, recipe.loop.epochs, dataset.shown(PUBLIC_TEST))
            if on_epoch:
                on_epoch(line)
        about: dict[str, Any] = {"git": revision, "processes": group.processes}

        def kept() -> str:
            sets = learned_sets(run)
            more = {"datasets": sets} if len(sets) > 1 else {}
            return str(keep(recipe, network, dataset, run, progress, training_in(last), {**about, **more}))

        return Path(group.from_first(kept))


def _tell(line: dict[str, Any], epochs: int, validation: str) -> None:
    """An epoch as a person wants it; ``history.jsonl`` has every digit."""
    log.info(
        "epoch %d of %d: loss %.4f, on %s %.4f; right %.2f %%, on %s %.2f %%; %.1f s",
        line["epoch"],
        epochs,
        line["loss"],
        validation,
        line["val_loss"],
        100 * line["accuracy"],
        validation,
        100 * line["val_accuracy"],
        line["seconds"],
    )


def _splits(
    dataset: Dataset,
    targets: Callable[[int], Float32Array] | None,
    teacher: Callable[[int], Teacher | None],
) -> tuple[Callable[[int], TrainingSet], Split]:
    """What to train on in an epoch, and what to validate on."""
    kept = trainable_rows(dataset)
    everything = dataset.splits[TRAINING]
    dropped = len(everything.images) - len(kept)
    log.info(
        "%d %s images, %d left out because they are in another split too", len(kept), dataset.shown(TRAINING), dropped
    )
    images, labels = everything.images[kept], everything.labels[kept]
    plain = everything.distributions(len(dataset.labels))[kept]
    weights = None if everything.weights is None else everything.weights[kept]

    def training_in(epoch: int) -> TrainingSet:
        return TrainingSet(images, labels, targets(epoch)[kept] if targets else plain, weights, teacher(epoch))

    return training_in, dataset.splits[PUBLIC_TEST]
