"""Rounds the first convolution's weights together instead of one by one.

Grey pixels are all positive, so every weight's rounding error meets the image's brightness with the same sign and
the errors of a kernel add up: an edge detector, whose weights sum to nearly nothing, then answers to brightness,
and the BatchNorm folded into it makes much of that. Rounding each kernel so that its output changes least on real
patches costs nothing at run time. The criterion is layer-wise second-order rounding (Nagel et al., 2020,
arXiv:2004.10568, equation 13); with nine weights a kernel, a plain descent finds its minimum.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.types import UInt8Array

LEVELS = 127
"""Largest weight magnitude of TFLite's symmetric int8; the largest weight of each kernel lies on it."""

FloatArray = npt.NDArray[np.float64]


def round_first_convolution(model: Any, calibration: UInt8Array) -> Any:
    """A copy of ``model`` whose first convolution lies on its own int8 grid; ``calibration`` is uint8 [N, H, W].

    The model itself is returned where its first layer with weights is no convolution of one channel.
    """
    import keras

    layer = first_convolution(model)
    if layer is None:
        return model
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    kernel, *rest = layer.get_weights()
    height, width, _, channels = kernel.shape
    moments = patch_moments(calibration, height, width)
    columns = kernel.reshape(height * width, channels).astype(np.float64)
    rounded = np.stack([round_kernel(column, moments) for column in columns.T], axis=1)
    copy.get_layer(layer.name).set_weights([rounded.reshape(kernel.shape).astype(np.float32), *rest])
    return copy


def first_convolution(model: Any) -> Any:
    """The layer that is rounded: the first one with weights, where it is a convolution of one channel; else None.

    One of 1x1 has nothing to round together.
    """
    import keras

    layer = next((layer for layer in model.layers if layer.get_weights()), None)
    if not isinstance(layer, keras.layers.Conv2D):
        return None
    height, width, channels, _ = layer.kernel.shape
    return layer if channels == 1 and height * width > 1 else None


def patch_moments(images: UInt8Array, height: int, width: int) -> FloatArray:
    """Second moments E[x xᵀ], float64 [height * width] squared, of the patches of ``images`` as 0..1."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(1, 2))
    # Neighbouring patches say the same: every third in each direction is enough.
    patches = windows[:, ::3, ::3].reshape(-1, height * width).astype(np.float64) / 255
    return np.asarray(patches.T @ patches / len(patches))


def round_kernel(weights: FloatArray, moments: FloatArray) -> FloatArray:
    """The point of the int8 grid of ``weights`` [K] near them that changes their output least: min eᵀ M e.

    ``moments`` M is [K, K]. The largest weight stays as it is, because it defines the grid.
    """
    largest = int(np.argmax(np.abs(weights)))
    scale = abs(weights[largest]) / LEVELS
    if scale == 0:
        return weights
    exact = weights / scale
    levels = np.rint(exact)
    free = [index for index in range(len(weights)) if index != largest]
    singles = [(index,) for index in free]
    moves = [
        (indices, steps)
        for indices in (*singles, *itertools.combinations(free, 2))
        for steps in itertools.product((-1, 1), repeat=len(indices))
    ]
    best = _cost(levels - exact, moments)
    improved = True
    while improved:
        improved = False
        for indices, steps in moves:
            trial = levels.copy()
            trial[list(indices)] += steps
            cost = _cost(trial - exact, moments)
            if np.abs(trial).max() <= LEVELS and cost < best * (1 - 1e-9):
                levels, best, improved = trial, cost, True
    return np.asarray(levels * scale, dtype=np.float64)


def _cost(error: FloatArray, moments: FloatArray) -> float:
    return float(error @ moments @ error)
