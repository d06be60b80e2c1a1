"""The training loop, to be read from top to bottom.

Keras 3 on any backend (``KERAS_BACKEND=tensorflow|jax|torch``). ``run_folder`` describes the files of a run.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy.typing as npt

from fer_edge.errors import ConfigError, ModelError
from fer_edge.types import Float32Array
from fer_train.data.dataset import trainable_rows
from fer_train.data.samples import Dataset, Split
from fer_train.distributed.strategy import SingleProcessStrategy
from fer_train.networks.network import Network
from fer_train.networks.registry import network_of
from fer_train.provenance import git_revision
from fer_train.recipe.recipe import Recipe
from fer_train.splits import PUBLIC_TEST, TRAINING
from fer_train.training.agreement import facts_of
from fer_train.training.callbacks import DivergedError, LossCheck, RateSchedule, progress_bar
from fer_train.training.curves import draw_curves
from fer_train.training.final_model import accuracy_of, validate, write_final_model
from fer_train.training.fine_tuning import first_weights
from fer_train.training.inputs.batches import TrainingBatches, TrainingSet
from fer_train.training.inputs.teacher import teacher_of
from fer_train.training.loss import adjustments_of
from fer_train.training.optimizer_setup import compiled_model, seed_dropout
from fer_train.training.run_folder.files import CHECKPOINT, CURVES, LearnedData, learned_sets, started_at
from fer_train.training.run_folder.folder import check_run, complete_epoch, only_writer, open_run, save_epoch
from fer_train.training.run_folder.history import Progress
from fer_train.training.tracking import Tracking

log = logging.getLogger(__name__)


def train(  # noqa: PLR0913 - all but three have a default and are given by name
    recipe: Recipe,
    dataset: Dataset,
    run: Path,
    *,
    targets: Callable[[int], Float32Array] | None = None,
    resume: bool = False,
    start: Path | None = None,
    allow_other_data: bool = False,
    strategy: SingleProcessStrategy | None = None,
    device: Any = None,
    on_epoch: Callable[[dict[str, Any]], None] | None = None,
) -> Path:
    """Train ``recipe`` on ``dataset`` in the folder ``run``, and return the path of the final model.

    Rows of Training whose pixels are also in another split are left out. Epochs count from 0.

    Args:
        recipe: All settings.
        dataset: The images; those of Training are trained on, those of PublicTest select the best epoch.
        run: The folder to write.
        targets: Returns for an epoch the distributions to learn, float32 [Training rows, labels]. None: the labels.
        resume: Whether to continue the run in the folder.
        start: The folder of another run to start from.
        allow_other_data: Whether to continue a run that has used another data set so far.
        strategy: The processes that train together. None: only this one.
        device: The ``torch.device`` of the loop for GPUs, on the PyTorch backend. None: the GPU, if there is one.
        on_epoch: Called with each epoch's line of the history after that is saved. If it raises, the run stops there
            and can be resumed.

    Raises:
        ConfigError, InputError: as ``open_run``; also if another process trains in ``run``.
        DivergedError: if the loss is not finite.
        OutputError: if ``run`` cannot be written.
    """
    strategy = strategy or SingleProcessStrategy()
    revision = git_revision()  # of the code that starts now; the checkout may change while it runs
    last = recipe.loop.epochs - 1
    training_set = _training_sets(recipe, dataset, targets)
    validation = dataset.splits[PUBLIC_TEST]
    network = network_of(recipe, len(dataset.labels), validation.images.shape[1:])
    adjustments = adjustments_of(recipe.loop, dataset.labels)
    strategy.check_agreement(lambda: facts_of(recipe, [training_set(0), training_set(last)], revision))
    data = LearnedData(dataset.name, dataset.rows_sha256, allow_other_data)
    resumed = strategy.on_main(lambda: check_run(recipe, run, resume=resume, start=start, data=data)[0].epoch) > 0
    with strategy.local():
        network.prepare(resumed=resumed)
        if recipe.model.weights and not resumed:
            network.start_from(first_weights(Path(recipe.model.weights), network.build(), dataset.labels))

    with ExitStack() as held:
        # The same checks again, now that no other process can change the folder.
        strategy.on_main(lambda: held.enter_context(only_writer(run)))
        progress = Progress(
            strategy.on_main(lambda: open_run(recipe, run, resume=resume, start=start, data=data).history)
        )
        if progress.epoch:
            log.info("resuming after epoch %d", progress.epoch)
            strategy.on_main(lambda: complete_epoch(run, progress, recipe.loop))
        trainer = _Trainer(recipe, network, run, strategy, device, adjustments)
        tracking = Tracking(recipe, run, resumed=progress.epoch > 0)
        strategy.on_main(lambda: held.enter_context(tracking))

        for epoch in range(progress.epoch, recipe.loop.epochs):
            started = time.monotonic()
            on_training = trainer.train_epoch(epoch, training_set(epoch))
            on_validation = strategy.on_main(lambda: trainer.validate(validation))
            line = {
                "epoch": epoch + 1,
                **on_training,
                **on_validation,
                "size": recipe.loop.size_at(epoch),
                "seconds": round(time.monotonic() - started, 1),
            }
            if not math.isfinite(line["val_loss"]):
                raise DivergedError(epoch, None, line["val_loss"], dataset.shown(PUBLIC_TEST))
            progress.add(line)

            strategy.on_main(lambda: trainer.save(progress, dataset.split_names))
            strategy.on_main(partial(tracking.epoch, trainer.model, line))
            _log_epoch(line, recipe.loop.epochs, dataset.shown(PUBLIC_TEST))
            if on_epoch:
                on_epoch(line)

        def write() -> str:
            made_by: dict[str, Any] = {"git": revision, "processes": strategy.processes, **trainer.hardware}
            if (start_time := started_at(run)) is not None:
                made_by["started_at"] = start_time.isoformat()
            if len(sets := learned_sets(run)) > 1:
                made_by["datasets"] = sets
            model = write_final_model(recipe, network, dataset, run, progress, training_set(last), made_by)
            tracking.final()
            return str(model)

        return Path(strategy.on_main(write))


class _Trainer:
    """The model of a run, from epoch to epoch."""

    def __init__(
        self,
        recipe: Recipe,
        network: Network,
        run: Path,
        strategy: SingleProcessStrategy,
        device: Any,
        adjustments: Float32Array,
    ) -> None:
        self.model: Any = None
        """The Keras model after the last epoch; a new one when the next epoch needs it built differently."""
        self._recipe, self._network, self._run, self._strategy = recipe, network, run, strategy
        self._device, self._adjustments = device, adjustments
        self._stage: tuple[str, int, int | None] | None = None
        self._saved_at = time.monotonic()
        self._gpu: Any = None
        """The epochs on a GPU; None: Keras' own loop trains."""

    @property
    def hardware(self) -> dict[str, str]:
        """What the record of the run says about the hardware: the name of the GPU, if one trains."""
        return {"gpu": self._gpu.device_name} if self._gpu else {}

    def validate(self, split: Split) -> dict[str, float]:
        """Return loss and accuracy of the model on ``split``."""
        if self._gpu:
            return accuracy_of(self._gpu.logits(split.images), split)
        return validate(self._network.for_validation(self._strategy.local_copy(self.model)), split)

    def train_epoch(self, epoch: int, training: TrainingSet) -> dict[str, float]:
        """Train ``epoch``, and return loss and accuracy on the augmented images.

        Raises:
            ModelError: if the run's checkpoint cannot be restored.
            DivergedError: if the loss is not finite.
        """
        recipe = self._recipe
        self._prepare_model(epoch)
        seed_dropout(self.model, recipe.loop.seed, epoch)
        if self._gpu:
            result: dict[str, float] = self._gpu.train(epoch, training, self._network.rate_factor(epoch))
            return result
        batches = TrainingBatches(training, recipe, epoch, self._strategy.shard)
        rate = RateSchedule(recipe.loop, epoch, len(batches), self._network.rate_factor(epoch))
        with progress_bar(len(batches), f"epoch {epoch + 1}/{recipe.loop.epochs}") as bar:
            # shuffle=False: the batches are shuffled images already, and Keras' own order would not survive --resume.
            fitted = self.model.fit(
                batches,
                initial_epoch=epoch,
                epochs=epoch + 1,
                verbose=0,
                callbacks=[rate, LossCheck(epoch), bar],
                shuffle=False,
            )
        self._strategy.synchronize(self.model)
        return {"loss": float(fitted.history["loss"][0]), "accuracy": float(fitted.history["accuracy"][0])}

    def save(self, progress: Progress, splits: Sequence[str]) -> None:
        """Save the last epoch of ``progress``, if it is time to or a checkpoint is needed after it."""
        loop = self._recipe.loop
        due = time.monotonic() - self._saved_at > loop.min_save_interval_s
        if due or loop.must_save(progress.epoch) or self._restores_before(progress.epoch):
            save_epoch(self.model, self._run, progress, loop)
            draw_curves(progress.history, self._run / CURVES, splits)
            self._saved_at = time.monotonic()

    def _restores_before(self, epoch: int) -> bool:
        """Return whether ``epoch`` needs a model built differently, which starts from the run's checkpoint."""
        return self._stage_of(epoch) != self._stage

    def _stage_of(self, epoch: int) -> tuple[str, int, int | None]:
        return self._recipe.loop.precision_at(epoch), self._network.phase(epoch), self._network.input_side(epoch)

    def _prepare_model(self, epoch: int) -> None:
        """Build the model again if precision, trainable layers or input size change; restore the checkpoint."""
        if not self._restores_before(epoch):
            return
        network = self._network
        self._stage = self._stage_of(epoch)
        self.model = compiled_model(network, self._recipe.loop, epoch, self._strategy, self._adjustments)
        if epoch:
            # The optimizer's state belongs to the layers that were trained; for others it starts again.
            self._restore(with_optimizer=network.phase(epoch - 1) == network.phase(epoch))
        self._gpu = self._gpu_epochs(epoch)

    def _gpu_epochs(self, epoch: int) -> Any:
        """Return the loop for a GPU that trains the model, or None where Keras' own loop does."""
        if keras.backend.backend() != "torch" or self._strategy.processes > 1:
            return None
        from fer_train.training.gpu.epochs import GpuEpochs, usable_device

        device = self._device or usable_device()
        if device is None:
            return None
        epochs = self._gpu or GpuEpochs(self._recipe, device, self._adjustments)
        return epochs if epochs.use(self.model, epoch) else None

    def _restore(self, *, with_optimizer: bool) -> None:
        """Copy the weights in the run's checkpoint to the model, and the optimizer's state if ``with_optimizer``."""
        checkpoint = self._run / CHECKPOINT

        def variables(model: Any) -> list[Any]:
            return [*model.weights, *(model.optimizer.variables if with_optimizer else [])]

        def values(model: Any) -> list[npt.NDArray[Any]]:
            return [keras.ops.convert_to_numpy(variable) for variable in variables(model)]

        def saved() -> list[npt.NDArray[Any]]:
            # A file saved on PyTorch names the optimizer's class of that backend, which other backends cannot load.
            optimizers = {"AdamW": keras.optimizers.AdamW, "SGD": keras.optimizers.SGD}
            found = keras.models.load_model(checkpoint, custom_objects=optimizers)
            self._network.check_same(found, self.model)
            return values(found)

        try:
            restored = self._strategy.arrays_on_main(saved, values(self.model))
            for variable, value in zip(variables(self.model), restored, strict=True):
                variable.assign(value)
        except ConfigError:
            raise
        except (OSError, ValueError, KeyError, AttributeError) as error:
            reason = str(error).strip().partition("\n")[0]
            raise ModelError(f"{checkpoint}: cannot resume from it: {reason}") from None


def _training_sets(
    recipe: Recipe, dataset: Dataset, targets: Callable[[int], Float32Array] | None
) -> Callable[[int], TrainingSet]:
    """Return a function that returns the training set of an epoch."""
    teacher = teacher_of(recipe.targets, dataset.labels, recipe.loop.precision) if targets else None
    rows = trainable_rows(dataset)
    split = dataset.splits[TRAINING]
    log.info(
        "%d %s images, %d left out because they are in another split too",
        len(rows),
        dataset.shown(TRAINING),
        len(split.images) - len(rows),
    )
    images, labels = split.images[rows], split.labels[rows]
    split_distributions = split.distributions(len(dataset.labels))
    weights = None if split.weights is None else split.weights[rows]

    last: tuple[Float32Array, TrainingSet] | None = None

    def training_set(epoch: int) -> TrainingSet:
        """Return the same object while targets and teacher stay the same: a GPU gets it once."""
        nonlocal last
        distributions = targets(epoch) if targets else split_distributions
        with_teacher = teacher if epoch >= recipe.targets.teacher_from else None
        if last is None or last[0] is not distributions or last[1].teacher is not with_teacher:
            last = distributions, TrainingSet(images, labels, distributions[rows], weights, with_teacher)
        return last[1]

    return training_set


def _log_epoch(line: dict[str, Any], epochs: int, validation: str) -> None:
    """Log an epoch with rounded numbers; ``history.jsonl`` has all digits."""
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
