"""The classifier: a small residual network in backend-neutral Keras 3, made to quantize well.

Every activation is a plain ReLU and every BatchNorm follows a convolution, into which the converter folds it;
raw grey pixels 0..255 go in, and scaling is one multiply without offset, so it folds as well. Logits come out.
The residual block is that of He et al., 2015, arXiv:1512.03385.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fer_train.config import ModelSettings

if TYPE_CHECKING:
    import keras


def build_model(
    settings: ModelSettings,
    labels: int,
    height: int | None = None,
    width: int | None = None,
    *,
    norm: Callable[..., Any] | None = None,
) -> Any:
    """A Keras model from float32 [N, height, width, 1] (0..255) to float32 logits [N, labels].

    ``height`` and ``width`` None make a model for images of any size; ``norm`` takes the place of Keras' own
    BatchNormalization. The weights are the same either way.
    """
    import keras

    net = _Blocks(norm or keras.layers.BatchNormalization)
    pixels = keras.Input((height, width, 1), name="pixels")
    x = keras.layers.Rescaling(1 / 255.0, name="scale")(pixels)
    x = net.activate(net.convolve(x, settings.stem_width, "stem"), "stem")
    for stage, (channels, blocks) in enumerate(zip(settings.widths, settings.blocks, strict=True)):
        for block in range(blocks):
            x = net.residual_block(x, channels, stride=2 if block == 0 else 1, name=f"s{stage}b{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(settings.dropout, name="dropout")(x)
    logits = keras.layers.Dense(labels, name="logits")(x)
    return keras.Model(pixels, logits, name="fer_edge")


def count_macs(model: Any) -> int:
    """Multiply-accumulates of one image through a model of fixed input size: convolutions and dense layers."""
    import keras

    total = 0
    for layer in model.layers:
        if isinstance(layer, keras.layers.Conv2D):
            _, height, width, _ = layer.output.shape
            total += math.prod(layer.kernel.shape) * height * width
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total


class _Blocks:
    """The parts of the network, with the BatchNorm layer they all use."""

    def __init__(self, norm: Callable[..., Any]) -> None:
        self._norm = norm

    def residual_block(self, x: Any, channels: int, stride: int, name: str) -> Any:
        import keras

        shortcut = x
        if stride != 1 or x.shape[-1] != channels:
            shortcut = self.convolve(x, channels, f"{name}_shortcut", size=1, stride=stride)
        x = self.activate(self.convolve(x, channels, f"{name}_1", stride=stride), f"{name}_1")
        x = self.convolve(x, channels, f"{name}_2")
        return self.activate(keras.layers.Add(name=f"{name}_add")([x, shortcut]), f"{name}_2")

    def convolve(self, x: Any, channels: int, name: str, size: int = 3, stride: int = 1) -> Any:
        import keras

        x = keras.layers.Conv2D(
            channels, size, strides=stride, padding="same", use_bias=False, kernel_initializer="he_normal", name=name
        )(x)
        return self._norm(momentum=0.9, epsilon=1e-5, name=f"{name}_norm")(x)

    def activate(self, x: Any, name: str) -> keras.KerasTensor:
        import keras

        return keras.layers.ReLU(name=f"{name}_relu")(x)
