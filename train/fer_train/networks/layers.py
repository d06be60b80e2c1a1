"""The layers of a Keras model: iterate, count their work, renew the statistics of BatchNorm."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

from fer_edge.types import Float32Array, UInt8Array

NORM_IMAGES = 8192
"""Training images from which BatchNorm's statistics are computed; as many as MMClassification's PreciseBNHook takes."""
_BATCH_SIZE = 256


def every_layer(model: Any) -> Iterator[Any]:
    """Yield the layers of a Keras model, including those of nested models."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from every_layer(layer)
        else:
            yield layer


def count_macs(model: Any) -> int:
    """Return the multiply-accumulates for one image of a model of fixed input size: convolutions and dense layers."""
    return sum(count_layer_macs(layer) for layer in every_layer(model))


def count_layer_macs(layer: Any) -> int:
    """Return the multiply-accumulates of one layer for one image; 0 if it is neither a convolution nor dense."""
    import keras

    if isinstance(layer, keras.layers.SeparableConv2D):
        kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
        return int(kernels * math.prod(layer.output.shape[1:3]))
    if isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
        return int(math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3]))
    if isinstance(layer, keras.layers.Dense):
        return int(math.prod(layer.kernel.shape))
    return 0


def renew_norm(model: Any, images: UInt8Array | Float32Array) -> None:
    """Set the running statistics of ``model``'s BatchNorm layers to mean and variance over ``images``.

    In training, these statistics are running means over changing weights ("PreciseBN": Wu and Johnson,
    arXiv:2105.07576). Layers that are not trainable keep theirs.

    Args:
        model: A Keras model from raw pixels.
        images: uint8 or float32 [N, H, W] in 0..255.
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
        layer.momentum = 0.0  # so that a layer's statistics are those of the last batch
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
