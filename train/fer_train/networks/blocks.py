"""The building blocks of ``model.block``, all of convolution, BatchNorm and plain ReLU.

Each maps [N, H, W, C] to [N, H/stride, W/stride, channels]:

- ``residual``: two 3x3 convolutions with a shortcut (He et al., 2015, arXiv:1512.03385);
- ``inverted``: 1x1 to three times the channels, depthwise 3x3, 1x1 back (Sandler et al., 2018, arXiv:1801.04381);
- ``repvgg``: 3x3, 1x1 and identity in parallel, which are folded into one 3x3 convolution after training
  (Ding et al., 2021, arXiv:2101.03697);
- ``plain``: one 3x3 convolution, after 2x2 max pooling if the stride is 2 (VGG with BatchNorm, Simonyan and
  Zisserman, 2014, arXiv:1409.1556).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_edge.types import Float32Array

EXPANSION = 3
"""Channels inside an inverted block, as a multiple of those going in."""

EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class LayerKinds:
    """Constructors of a network's Conv2D and BatchNormalization layers; others than Keras' own can be faster."""

    convolution: Callable[..., Any]
    normalization: Callable[..., Any]


def keras_kinds() -> LayerKinds:
    """Return Keras' own layers."""
    import keras

    return LayerKinds(keras.layers.Conv2D, keras.layers.BatchNormalization)


class Blocks:
    """Adds layers of ``kinds`` to a Keras graph; ``folded`` builds RepVGG as one branch."""

    def __init__(self, kinds: LayerKinds, *, folded: bool = False) -> None:
        self._kinds = kinds
        self._folded = folded

    def add(self, kind: str, x: Any, channels: int, stride: int, name: str) -> Any:
        """Add the block ``kind`` after ``x``."""
        known = {"residual": self._residual, "inverted": self._inverted, "repvgg": self._repvgg, "plain": self._plain}
        return known[kind](x, channels, stride, name)

    def convolve(self, x: Any, channels: int, name: str, size: int = 3, stride: int = 1) -> Any:
        """Add a convolution without bias, then BatchNorm."""
        x = self._kinds.convolution(
            channels, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
        )(x)
        return self._normalize(x, name)

    def activate(self, x: Any, name: str) -> Any:
        """Add a ReLU."""
        import keras

        return keras.layers.ReLU(name=f"{name}_relu")(x)

    def _normalize(self, x: Any, name: str) -> Any:
        return self._kinds.normalization(momentum=0.9, epsilon=EPSILON, name=f"{name}_norm")(x)

    def _residual(self, x: Any, channels: int, stride: int, name: str) -> Any:
        import keras

        shortcut = x
        if stride != 1 or x.shape[-1] != channels:
            shortcut = self.convolve(x, channels, f"{name}_shortcut", size=1, stride=stride)
        x = self.activate(self.convolve(x, channels, f"{name}_1", stride=stride), f"{name}_1")
        x = self.convolve(x, channels, f"{name}_2")
        return self.activate(keras.layers.Add(name=f"{name}_add")([x, shortcut]), f"{name}_2")

    def _inverted(self, x: Any, channels: int, stride: int, name: str) -> Any:
        import keras

        shortcut, wide = x, EXPANSION * x.shape[-1]
        x = self.activate(self.convolve(x, wide, f"{name}_expand", size=1), f"{name}_expand")
        x = keras.layers.DepthwiseConv2D(
            3, strides=stride, padding="same", use_bias=False, depthwise_initializer="he_normal", name=f"{name}_depth"
        )(x)
        x = self.activate(self._normalize(x, f"{name}_depth"), f"{name}_depth")
        x = self.convolve(x, channels, f"{name}_project", size=1)
        if stride != 1 or shortcut.shape[-1] != channels:
            return x
        return keras.layers.Add(name=f"{name}_add")([x, shortcut])

    def _plain(self, x: Any, channels: int, stride: int, name: str) -> Any:
        import keras

        if stride != 1:
            x = keras.layers.MaxPooling2D(stride, padding="same", name=f"{name}_pool")(x)
        return self.activate(self.convolve(x, channels, name), name)

    def _repvgg(self, x: Any, channels: int, stride: int, name: str) -> Any:
        import keras

        if self._folded:
            folded = keras.layers.Conv2D(channels, 3, strides=stride, padding="same", name=f"{name}_folded")
            return self.activate(folded(x), name)
        branches = [
            self.convolve(x, channels, f"{name}_3x3", stride=stride),
            self.convolve(x, channels, f"{name}_1x1", size=1, stride=stride),
        ]
        if stride == 1 and x.shape[-1] == channels:
            branches.append(self._normalize(x, f"{name}_identity"))
        return self.activate(keras.layers.Add(name=f"{name}_add")(branches), name)


def transfer_weights(trained: Any, folded: Any) -> None:
    """Copy the weights of ``trained`` to ``folded``, built from the same settings, layer by layer.

    Layers of the same name get the same weights; a convolution ``X_folded`` gets the sum of the branches of X.
    """
    known = {layer.name: layer for layer in trained.layers}
    for layer in folded.layers:
        if layer.name in known:
            layer.set_weights(known[layer.name].get_weights())
        else:
            layer.set_weights(_fold_branches(known, layer))


def _fold_branches(trained: dict[str, Any], folded: Any) -> list[Float32Array]:
    """Return kernel [3, 3, C, channels] and bias [channels] for ``folded``, equal to the sum of the branches."""
    name, shape = folded.name.removesuffix("_folded"), folded.kernel.shape
    # The position of the 1x1 kernel in the 3x3 window: with stride 2 and "same" padding on an even side, there is no
    # padding in front, so that both start at the same pixel.
    at = 0 if folded.strides[0] == 2 and folded.input.shape[1] % 2 == 0 else 1
    point = np.zeros(shape)
    point[at, at] = trained[f"{name}_1x1"].get_weights()[0][0, 0]
    kernels = {"3x3": trained[f"{name}_3x3"].get_weights()[0], "1x1": point}
    if f"{name}_identity_norm" in trained:
        kernels["identity"] = np.zeros(shape)
        kernels["identity"][1, 1] = np.eye(shape[-1])
    kernel, bias = np.zeros(shape), np.zeros(shape[-1])
    for branch, branch_kernel in kernels.items():
        gamma, beta, mean, variance = trained[f"{name}_{branch}_norm"].get_weights()
        scale = gamma / np.sqrt(variance + EPSILON)
        kernel += branch_kernel * scale
        bias += beta - mean * scale
    return [kernel.astype(np.float32), bias.astype(np.float32)]
