"""How a network learns an epoch: what it computes in, its optimizer and rate, and where it takes up a checkpoint."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from fer_edge.errors import CheckFailedError, ConfigError, ModelError
from fer_train.data.samples import PUBLIC_TEST
from fer_train.distributed.strategy import Alone
from fer_train.networks.architecture import Architecture
from fer_train.networks.blocks import LayerKinds
from fer_train.networks.torch_conv import DirectConv2D
from fer_train.networks.torch_norm import FusedBatchNormalization
from fer_train.recipe.recipe import LoopSettings, Recipe
from fer_train.training.batches import TrainingBatches, TrainingSet
from fer_train.training.run_folder import CHECKPOINT


class DivergedError(CheckFailedError):
    """The loss is not finite from a step on; ``epoch`` counts from 1."""

    def __init__(self, epoch: int, step: int | None, loss: float, validation: str = PUBLIC_TEST) -> None:
        """``epoch`` and ``step`` count from 0; ``step`` is None where the loss on ``validation`` is not finite."""
        self.epoch = epoch + 1
        where = f"on {validation} after its last step" if step is None else f"step {step + 1}"
        super().__init__(
            f"epoch {self.epoch}, {where}: the loss is {loss}, which is not finite; nothing of this epoch is kept: "
            "begin a new run with a lower loop.learning_rate, or look for damaged images"
        )


class Learner:
    """The network of ``recipe`` while it learns in the folder ``run``, by itself or in a ``group`` of processes."""

    def __init__(self, recipe: Recipe, network: Architecture, run: Path, group: Alone) -> None:
        """Builds nothing yet."""
        self.model: Any = None
        """The Keras model as the last epoch left it; another one where an epoch needs it built differently."""
        self._recipe, self._network, self._run, self._group = recipe, network, run, group
        self._stage: tuple[str, int, int | None] | None = None

    def learn(self, epoch: int, training: TrainingSet) -> dict[str, float]:
        """Train ``epoch`` (from 0); loss and accuracy on the images as they were learned, changed at random.

        Raises ModelError when the run's checkpoint cannot be taken up, DivergedError when the loss is not finite.
        """
        recipe = self._recipe
        self._be_ready_for(epoch)
        _seed_dropout(self.model, recipe.loop.seed, epoch)
        batches = TrainingBatches(training, recipe, epoch, self._group.part)
        rate = _RateSchedule(recipe.loop, epoch, len(batches), self._network.rate_factor(epoch))
        with _progress_bar(len(batches), f"epoch {epoch + 1}/{recipe.loop.epochs}") as bar:
            # shuffle=False: the batches are shuffled images already, and Keras' own order would not survive --resume.
            fitted = self.model.fit(
                batches,
                initial_epoch=epoch,
                epochs=epoch + 1,
                verbose=0,
                callbacks=[rate, _LossCheck(epoch), bar],
                shuffle=False,
            )
        self._group.settle(self.model)
        return {"loss": float(fitted.history["loss"][0]), "accuracy": float(fitted.history["accuracy"][0])}

    def _be_ready_for(self, epoch: int) -> None:
        network = self._network
        stage = (self._recipe.loop.precision_at(epoch), network.phase(epoch), network.built_side(epoch))
        if stage == self._stage:
            return
        self._stage = stage
        self.model = _compiled(network, self._recipe, epoch, self._group)
        if epoch:
            # The optimizer's state is that of the layers that learned; of others it begins anew.
            same = network.phase(epoch - 1) == network.phase(epoch)
            _restore(network, self.model, self._run / CHECKPOINT, self._group, optimizer=same)


def _compiled(network: Architecture, recipe: Recipe, epoch: int, group: Alone) -> Any:
    """The model as it learns in ``epoch``, with its optimizer built, so that a checkpoint can be put into it."""
    # Each time, so that the processes of a group begin the same whatever else one of them built.
    keras.utils.set_random_seed(recipe.loop.seed)
    with _precision(recipe.loop.precision_at(epoch)):
        model = group.shared(lambda: network.for_training(epoch, _fast_kinds()))
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


def _fast_kinds() -> LayerKinds | None:
    """Quicker layers where Keras' own are slow: under PyTorch."""
    return LayerKinds(DirectConv2D, FusedBatchNormalization) if keras.backend.backend() == "torch" else None


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


class _LossCheck(keras.callbacks.Callback):  # type: ignore[misc]
    """Raises DivergedError at the first step whose loss is not finite.

    Keras converts the logs of each step to Python numbers for the other callbacks anyway, so that this waits for no
    device. The loss there is the mean over the epoch so far, which stays NaN or infinite from the first such step on.
    With several processes it is the whole batch's, so that all of them stop at the same step.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise DivergedError(self._epoch, batch, loss)


def _restore(network: Architecture, model: Any, checkpoint: Path, group: Alone, *, optimizer: bool) -> None:
    """Put the weights of ``checkpoint`` into ``model``, and with ``optimizer`` that one's state too."""

    def variables(of: Any) -> list[Any]:
        return [*of.weights, *(of.optimizer.variables if optimizer else [])]

    def values(of: Any) -> list[npt.NDArray[Any]]:
        return [keras.ops.convert_to_numpy(variable) for variable in variables(of)]

    def saved() -> list[npt.NDArray[Any]]:
        # A file written under PyTorch names that backend's own class, which cannot be loaded under another.
        optimizers = {each.__name__: each for each in (keras.optimizers.AdamW, keras.optimizers.SGD)}
        found = keras.models.load_model(checkpoint, custom_objects=optimizers)
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


@contextlib.contextmanager
def _progress_bar(steps: int, description: str) -> Iterator[keras.callbacks.Callback]:
    from tqdm import tqdm

    with tqdm(total=steps, desc=description, unit="step", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance(step: int, logs: dict[str, float] | None = None) -> None:
            bar.set_postfix({name: f"{value:.3f}" for name, value in (logs or {}).items()}, refresh=False)
            bar.update()

        yield keras.callbacks.LambdaCallback(on_train_batch_end=advance)
