"""mini_XCEPTION (Arriaga, Valdenegro-Toro & Plöger, arXiv:1710.07557), a small network that many FER programs ship.

The layers are those of the function ``mini_XCEPTION`` in ``src/models/cnn.py`` of oarriaga/face_classification, with
58,423 weights for 7 labels. Three things differ, none of them a layer with weights. The graph scales pixels to 0..1,
the original to -1..1: the first convolution has no padding, so that the BatchNorm after it absorbs the offset exactly.
The runtime computes the softmax. The recipe's weight decay replaces the L2 term in the loss.
"""

from __future__ import annotations

from typing import Any

from fer_train.networks.blocks import LayerKinds, keras_kinds
from fer_train.networks.network import Network

_WIDTHS = (16, 32, 64, 128)


class MiniXception(Network):
    """mini_XCEPTION."""

    def build(self, kinds: LayerKinds | None = None, size: tuple[int, int] | None = None) -> Any:
        """As ``Network`` says."""
        return _build(kinds or keras_kinds(), self._labels, *(size or (None, None)))


def _build(kinds: LayerKinds, labels: int, height: int | None, width: int | None) -> Any:
    import keras

    pixels = keras.Input((height, width, 1), name="pixels")
    x = keras.layers.Rescaling(1 / 255.0, name="scale")(pixels)
    for name in ("base_1", "base_2"):
        x = kinds.normalization(name=f"{name}_norm")(kinds.convolution(8, 3, use_bias=False, name=name)(x))
        x = keras.layers.ReLU(name=f"{name}_relu")(x)
    for number, channels in enumerate(_WIDTHS, start=1):
        x = _module(x, channels, f"module_{number}", kinds)
    x = kinds.convolution(labels, 3, padding="same", name="evidence")(x)
    # Where layers compute in bfloat16, 8 bits are too few for logits and for the softmax of the loss.
    logits = keras.layers.GlobalAveragePooling2D(dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name="mini_xception")


def _module(x: Any, channels: int, name: str, kinds: LayerKinds) -> Any:
    """Add two separable convolutions and max pooling with stride 2, in parallel with a strided 1x1 shortcut."""
    import keras

    shortcut = kinds.convolution(channels, 1, strides=2, padding="same", use_bias=False, name=f"{name}_shortcut")(x)
    shortcut = kinds.normalization(name=f"{name}_shortcut_norm")(shortcut)
    for step in (1, 2):
        x = keras.layers.SeparableConv2D(channels, 3, padding="same", use_bias=False, name=f"{name}_{step}")(x)
        x = kinds.normalization(name=f"{name}_{step}_norm")(x)
        if step == 1:
            x = keras.layers.ReLU(name=f"{name}_relu")(x)
    x = keras.layers.MaxPooling2D(3, strides=2, padding="same", name=f"{name}_pool")(x)
    return keras.layers.Add(name=f"{name}_add")([x, shortcut])
