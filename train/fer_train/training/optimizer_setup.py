"""The model of an epoch, compiled: precision of the layers, optimizer, loss and metric."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from fer_edge.types import Float32Array
from fer_train.distributed.strategy import SingleProcessStrategy
from fer_train.networks.blocks import LayerKinds
from fer_train.networks.network import Network
from fer_train.networks.torch_conv import DirectConv2D
from fer_train.networks.torch_norm import FusedBatchNormalization
from fer_train.recipe.loop import LoopSettings
from fer_train.training.loss import AdjustedCrossentropy


def compiled_model(
    network: Network, loop: LoopSettings, epoch: int, strategy: SingleProcessStrategy, adjustments: Float32Array
) -> Any:
    """Return the model for ``epoch`` with its optimizer built, so that the state in a checkpoint can be restored.

    ``adjustments`` are those of the logits in the loss [labels].
    """
    # Each time, so that all processes start equally whatever one of them built before.
    keras.utils.set_random_seed(loop.seed)
    with _precision(loop.precision_at(epoch)):
        model = strategy.replicated(lambda: network.for_training(epoch, _fast_kinds()))
    optimizer = _optimizer(loop)
    # BatchNorm's scale and offset and the biases are not decayed: pulling them to 0 only hurts.
    optimizer.exclude_from_weight_decay(var_names=["gamma", "beta", "bias"])
    optimizer.build(model.trainable_variables)
    model.compile(
        optimizer,
        loss=AdjustedCrossentropy(adjustments.tolist(), loop.label_smoothing),
        metrics=[keras.metrics.CategoricalAccuracy(name="accuracy")],
        jit_compile=keras.backend.backend() == "jax",
    )
    return model


def seed_dropout(model: Any, seed: int, epoch: int) -> None:
    """Set the random state of Dropout and similar layers from ``epoch``: checkpoints do not contain it."""
    if keras.backend.backend() == "torch":
        import torch

        # There, Dropout draws from PyTorch's global state.
        torch.manual_seed(int(np.random.SeedSequence([seed, epoch]).generate_state(1)[0]))
    states = [variable for variable in model.variables if variable.path.endswith("seed_generator_state")]
    for number, state in enumerate(states):
        state.assign([(seed + number) % 2**32, epoch])


def _optimizer(loop: LoopSettings) -> Any:
    if loop.optimizer == "sgd":
        return keras.optimizers.SGD(loop.learning_rate, momentum=0.9, nesterov=True, weight_decay=loop.weight_decay)
    return keras.optimizers.AdamW(loop.learning_rate, weight_decay=loop.weight_decay)


@contextlib.contextmanager
def _precision(name: str) -> Iterator[None]:
    """Layers created in this block compute in ``name``, with float32 variables."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16" if name == "bfloat16" else name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)


def _fast_kinds() -> LayerKinds | None:
    """Return faster layers for PyTorch, where Keras' own are slow; None for other backends."""
    return LayerKinds(DirectConv2D, FusedBatchNormalization) if keras.backend.backend() == "torch" else None
