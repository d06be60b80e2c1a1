"""The mean of a run's weights over its last epochs (``loop.averaged_epochs``), as a model of its own.

While the rate is high, weights wander about a better place than any epoch's end; their mean lies nearer to it
(Izmailov et al., arXiv:1803.05407). No running statistics of BatchNorm belong to a mean: they are taken anew.
"""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.system.files import atomic_path
from fer_edge.types import UInt8Array
from fer_train.networks.fer_edge import every_layer

AVERAGED = "averaged.npz"
"""File of a run's folder: the mean so far, and of how many epochs it is."""
_BATCH_SIZE = 256
NORM_IMAGES = 8192
"""Training images that BatchNorm's statistics are taken of; as many as MMClassification's PreciseBNHook takes."""


def add_epoch(run: Path, weights: list[npt.NDArray[Any]]) -> None:
    """Take ``weights``, float32 arrays of one model at an epoch's end, into the mean that the folder ``run`` keeps.

    Raises InputError when what is kept there is damaged or of another model.
    """
    epochs, mean = read_mean(run) if (run / AVERAGED).exists() else (0, weights)
    if [array.shape for array in mean] != [array.shape for array in weights]:
        raise InputError(f"{run / AVERAGED}: the mean of another network's weights; begin anew")
    mean = [before + (array - before) / (epochs + 1) for before, array in zip(mean, weights, strict=True)]
    with atomic_path(run / AVERAGED) as temporary, temporary.open("wb") as file:
        np.savez(file, np.int64(epochs + 1), *mean)


def read_mean(run: Path) -> tuple[int, list[npt.NDArray[Any]]]:
    """How many epochs' weights the folder ``run`` keeps the mean of, and that. Raises InputError when it is damaged."""
    path = run / AVERAGED
    try:
        with np.load(path, allow_pickle=False) as file:
            epochs, *mean = (file[f"arr_{index}"] for index in range(len(file.files)))
            return int(epochs), mean
    except (OSError, ValueError, TypeError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: not the mean of a run's weights: {error}") from None


def renew_norm(model: Any, images: UInt8Array) -> None:
    """Set the running statistics of ``model``'s BatchNorm layers to mean and variance over ``images`` as they are.

    ``model`` is a Keras model from raw pixels, ``images`` uint8 [N, H, W]. In training they are running means over
    weights that still move and augmented images, which a device never sees ("PreciseBN": Wu and Johnson,
    arXiv:2105.07576). Layers that do not learn keep theirs.
    """
    import keras

    norms = [
        layer for layer in every_layer(model) if isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
    ]
    if not norms:
        return
    momenta = [layer.momentum for layer in norms]
    sums = [(0.0, 0.0)] * len(norms)
    for layer in norms:
        layer.momentum = 0.0  # so that a layer's statistics are those of the batch it saw last
    for batch in np.array_split(images, -(-len(images) // _BATCH_SIZE)):
        model(keras.ops.convert_to_tensor(batch[..., np.newaxis].astype(np.float32)), training=True)
        share = len(batch) / len(images)
        for index, layer in enumerate(norms):
            mean = keras.ops.convert_to_numpy(layer.moving_mean).astype(np.float64)
            variance = keras.ops.convert_to_numpy(layer.moving_variance).astype(np.float64)
            sums[index] = (sums[index][0] + share * mean, sums[index][1] + share * (variance + mean**2))
    for layer, momentum, (mean, square) in zip(norms, momenta, sums, strict=True):
        layer.moving_mean.assign(mean)
        layer.moving_variance.assign(square - mean**2)
        layer.momentum = momentum
