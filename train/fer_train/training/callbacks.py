"""Keras callbacks of the training loop: learning rate, check of the loss, progress bar."""

from __future__ import annotations

import contextlib
import math
import sys
from collections.abc import Iterator
from typing import Any

import keras

from fer_edge.errors import CheckFailedError
from fer_train.recipe.loop import LoopSettings
from fer_train.splits import PUBLIC_TEST


class DivergedError(CheckFailedError):
    """The loss is not finite; ``epoch`` counts from 1."""

    def __init__(self, epoch: int, step: int | None, loss: float, validation: str = PUBLIC_TEST) -> None:
        """``epoch`` and ``step`` count from 0; ``step`` is None for the loss on ``validation``."""
        self.epoch = epoch + 1
        where = f"on {validation} after its last step" if step is None else f"step {step + 1}"
        super().__init__(
            f"epoch {self.epoch}, {where}: the loss is {loss}, which is not finite; nothing of this epoch is kept: "
            "start a new run with a lower loop.learning_rate, or look for damaged images"
        )


class RateSchedule(keras.callbacks.Callback):  # type: ignore[misc]
    """Set the learning rate before each step as the recipe says, in the same way on each backend."""

    def __init__(self, loop: LoopSettings, epoch: int, steps: int, factor: float) -> None:
        super().__init__()
        self._loop, self._epoch, self._steps, self._factor = loop, epoch, steps, factor

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Set the rate of step ``batch``."""
        rate = self._loop.rate_at(self._epoch + batch / self._steps)
        self.model.optimizer.learning_rate = rate * self._factor


class LossCheck(keras.callbacks.Callback):  # type: ignore[misc]
    """Raise DivergedError at the first step with a loss that is not finite.

    Keras converts the logs of each step to Python numbers for the other callbacks anyway, so that this waits for no
    device. The loss there is the mean over the epoch so far, which stays NaN or infinite from the first such step on.
    With several processes it is the loss of the whole batch, so that all of them stop at the same step.
    """

    def __init__(self, epoch: int) -> None:
        super().__init__()
        self._epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Check the loss of step ``batch``."""
        loss = float((logs or {}).get("loss", 0.0))
        if not math.isfinite(loss):
            raise DivergedError(self._epoch, batch, loss)


@contextlib.contextmanager
def progress_bar(steps: int, description: str) -> Iterator[keras.callbacks.Callback]:
    """Yield a callback that shows the steps of an epoch, if standard error is a terminal."""
    from tqdm import tqdm

    with tqdm(total=steps, desc=description, unit="step", file=sys.stderr, disable=not sys.stderr.isatty()) as bar:

        def advance(step: int, logs: dict[str, float] | None = None) -> None:
            bar.set_postfix({name: f"{value:.3f}" for name, value in (logs or {}).items()}, refresh=False)
            bar.update()

        yield keras.callbacks.LambdaCallback(on_train_batch_end=advance)
