"""Round the weights of each kernel of the first convolution jointly.

Grey pixels are not negative, so the rounding errors of a kernel's weights add up with the brightness of the image: an
edge detector, whose weights sum to almost 0, then responds to brightness, and the BatchNorm folded into it amplifies
this. Joint rounding minimizes the change of the output on real patches, and costs nothing at run time. The criterion is
layer-wise second-order rounding (Nagel et al., 2020, arXiv:2004.10568, equation 13). A kernel has nine weights, so
coordinate descent over one or two of them at a time finds a minimum.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.types import UInt8Array

LEVELS = 127
"""Maximum magnitude of a weight in TFLite's symmetric int8. The largest weight of each kernel is rounded to it."""

FloatArray = npt.NDArray[np.float64]


def round_first_convolution(model: Any, calibration: UInt8Array) -> Any:
    """Return a copy of ``model`` with the first convolution's weights on the int8 grid.

    ``calibration`` is uint8 [N, H, W]. Returns ``model`` itself if ``first_convolution`` finds no layer.
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
    """Return the first layer with weights if it is a convolution of one channel, else None.

    None for a 1x1 convolution too: a kernel of one weight cannot be rounded jointly.
    """
    import keras

    layer = next((layer for layer in model.layers if layer.get_weights()), None)
    if not isinstance(layer, keras.layers.Conv2D):
        return None
    height, width, channels, _ = layer.kernel.shape
    return layer if channels == 1 and height * width > 1 else None


def patch_moments(images: UInt8Array, height: int, width: int) -> FloatArray:
    """Return the second moments E[x xᵀ], [height * width] squared, of the patches of ``images``, scaled to 0..1."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (height, width), axis=(1, 2))
    # Adjacent patches are almost equal: every third in each direction is enough.
    patches = windows[:, ::3, ::3].reshape(-1, height * width).astype(np.float64) / 255
    return np.asarray(patches.T @ patches / len(patches))


def round_kernel(weights: FloatArray, moments: FloatArray) -> FloatArray:
    """Return the values on the int8 grid near ``weights`` [K] that minimize eᵀ M e, with the error e.

    ``moments`` M is [K, K]. The largest weight is unchanged, because it defines the grid.
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
            candidate = levels.copy()
            candidate[list(indices)] += steps
            cost = _cost(candidate - exact, moments)
            if np.abs(candidate).max() <= LEVELS and cost < best * (1 - 1e-9):
                levels, best, improved = candidate, cost, True
    return np.asarray(levels * scale, dtype=np.float64)


def _cost(error: FloatArray, moments: FloatArray) -> float:
    return float(error @ moments @ error)
