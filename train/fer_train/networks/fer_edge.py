"""The classifier: a small convolutional network in backend-neutral Keras 3, made to quantize well.

Every activation is a plain ReLU and every BatchNorm follows a convolution, into which the converter folds it;
raw grey pixels 0..255 go in, and scaling is one multiply without offset, so it folds as well. Logits come out.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from fer_train.networks.blocks import Blocks, LayerKinds, keras_kinds
from fer_train.recipe.recipe import ModelSettings


def build_model(
    settings: ModelSettings,
    labels: int,
    height: int | None = None,
    width: int | None = None,
    *,
    kinds: LayerKinds | None = None,
    folded: bool = False,
) -> Any:
    """A Keras model from float32 [N, height, width, 1] (0..255) to float32 logits [N, labels].

    ``height`` and ``width`` None make a model for images of any size; ``kinds`` take the place of
    Keras' own layers: the weights are the same either way. ``folded`` builds what is kept after training: one branch
    where training has several; ``fer_train.networks.blocks.transfer_weights`` fills it.
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


def count_macs(model: Any) -> int:
    """Multiply-accumulates of one image through a model of fixed input size: convolutions and dense layers."""
    import keras

    total = 0
    for layer in every_layer(model):
        if isinstance(layer, keras.layers.SeparableConv2D):
            kernels = math.prod(layer.depthwise_kernel.shape) + math.prod(layer.pointwise_kernel.shape)
            total += kernels * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Conv2D | keras.layers.DepthwiseConv2D):
            total += math.prod(layer.kernel.shape) * math.prod(layer.output.shape[1:3])
        elif isinstance(layer, keras.layers.Dense):
            total += math.prod(layer.kernel.shape)
    return total


def every_layer(model: Any) -> Iterator[Any]:
    """The layers of a Keras model, those of the models inside it too."""
    for layer in model.layers:
        if hasattr(layer, "layers"):
            yield from every_layer(layer)
        else:
            yield layer
