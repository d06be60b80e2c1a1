"""This project's own classifier: a small convolutional network in backend-neutral Keras 3, designed for quantization.

Each activation is a plain ReLU, and each BatchNorm follows a convolution, into which the converter folds it. The input
is raw grey pixels 0..255; the graph scales them by one multiplication without offset, which folds as well. The output
is logits.
"""

from __future__ import annotations

from typing import Any

from fer_train.networks.blocks import Blocks, LayerKinds, keras_kinds, transfer_weights
from fer_train.networks.network import Network
from fer_train.recipe.model import ModelSettings


class FerEdge(Network):
    """``build_model`` of the recipe's ``[model]``."""

    def build(self, kinds: LayerKinds | None = None, size: tuple[int, int] | None = None) -> Any:
        """As ``Network`` says."""
        return build_model(self._settings, self._labels, *(size or (None, None)), kinds=kinds)

    def for_inference(self, trained: Any) -> Any:
        """As ``Network`` says; the branches of RepVGG blocks are folded into one convolution each."""
        model = build_model(self._settings, self._labels, *self._size, folded=True)
        transfer_weights(trained, model)
        return model


def build_model(
    settings: ModelSettings,
    labels: int,
    height: int | None = None,
    width: int | None = None,
    *,
    kinds: LayerKinds | None = None,
    folded: bool = False,
) -> Any:
    """Return a Keras model from float32 [N, height, width, 1] (0..255) to float32 logits [N, labels].

    Args:
        settings: Widths, blocks and strides.
        labels: Number of logits.
        height: Height of the images in pixels; None: any.
        width: Width of the images in pixels; None: any.
        kinds: Replacements for Keras' own layers, with the same weights.
        folded: Build the model for inference, with one branch where training has several; ``transfer_weights`` fills
            it.
    """
    import keras

    blocks = Blocks(kinds or keras_kinds(), folded=folded)
    pixels = keras.Input((height, width, 1), name="pixels")
    x = keras.layers.Rescaling(1 / 255.0, name="scale")(pixels)
    x = blocks.activate(blocks.convolve(x, settings.stem_width, "stem", stride=settings.stem_stride), "stem")
    for block in range(settings.stem_blocks):
        x = blocks.add(settings.block, x, settings.stem_width, 1, f"stem{block}")
    for stage, (channels, count) in enumerate(zip(settings.widths, settings.blocks, strict=True)):
        first_stride = 1 if stage == 0 and settings.stem_stride == 2 else 2
        for block in range(count):
            x = blocks.add(settings.block, x, channels, first_stride if block == 0 else 1, f"s{stage}b{block}")
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dropout(settings.dropout, name="dropout")(x)
    # Where layers compute in bfloat16, 8 bits are too few for logits and for the softmax of the loss.
    logits = keras.layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name="fer_edge")
