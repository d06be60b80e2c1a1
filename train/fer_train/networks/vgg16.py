"""VGG16 (Simonyan & Zisserman, arXiv:1409.1556) as an extractor of features, with a head of its own.

Its convolutions begin with what they learned on ImageNet. First the head alone learns; then the last blocks do too, at
a lower rate. The picture is enlarged, made of three channels and shifted by ImageNet's means inside the graph, so that
raw grey pixels go in as with every other network here.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import InputError, ModelError, reason_of
from fer_edge.types import Float32Array
from fer_train.networks.download import fetch
from fer_train.recipe.recipe import ModelSettings, Vgg16Settings

IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)
"""What VGG16 expects to be taken from each channel: ``keras.applications.imagenet_utils``, mode "caffe"."""
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
"""The file of 59 MB that ``keras.applications.VGG16`` downloads, and below it what Keras holds it to."""
IMAGENET_MD5 = "6d6bbae143d832006294945121d1f1fc"
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each block."""


def build(settings: ModelSettings, labels: int, height: int | None, width: int | None) -> Any:
    """The Keras model for images of ``height`` x ``width`` (None: any size), its convolutions not yet taught."""
    import keras

    own = settings.vgg16 or Vgg16Settings()
    pixels = keras.Input((height, width, 1), name="pixels")
    x = pixels
    if own.enlarge > 1:
        x = keras.layers.UpSampling2D(own.enlarge, interpolation="bilinear", name="enlarge")(x)
    colours = keras.layers.Conv2D(3, 1, trainable=False, name="colours")
    x = colours(x)
    colours.set_weights([np.ones((1, 1, 1, 3), np.float32), -np.array(IMAGENET_MEANS_BGR, np.float32)])
    for block, (channels, count) in enumerate(_BLOCKS, start=1):
        for step in range(1, count + 1):
            name = f"block{block}_conv{step}"
            x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu", name=name)(x)
        x = keras.layers.MaxPooling2D(2, name=f"block{block}_pool")(x)
    x = keras.layers.GlobalAveragePooling2D(name="pool")(x)
    x = keras.layers.Dense(own.head_width, activation="relu", name="head")(x)
    x = keras.layers.Dropout(settings.dropout, name="dropout")(x)
    logits = keras.layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name="vgg16")


def check_size(settings: ModelSettings, side: int) -> None:
    """Raises InputError where five halvings leave nothing of images of ``side`` pixels."""
    enlarge = (settings.vgg16 or Vgg16Settings()).enlarge
    if side * enlarge < 32:
        raise InputError(f"vgg16 needs 32 pixels; {side} times model.vgg16.enlarge are {side * enlarge}: raise it")


def freeze(model: Any, settings: ModelSettings, epoch: int) -> None:
    """Say which layers learn in ``epoch`` (from 0)."""
    own = settings.vgg16 or Vgg16Settings()
    first = len(_BLOCKS) + 1 if epoch < own.frozen_epochs else len(_BLOCKS) + 1 - own.tuned_blocks
    for layer in model.layers:
        if layer.name.startswith("block"):
            layer.trainable = int(layer.name[len("block")]) >= first


def phase(settings: ModelSettings, epoch: int) -> int:
    """0 while the head learns alone, then 1."""
    return int(epoch >= (settings.vgg16 or Vgg16Settings()).frozen_epochs)


def rate_factor(settings: ModelSettings, epoch: int) -> float:
    """Factor on the learning rate in ``epoch``."""
    return (settings.vgg16 or Vgg16Settings()).tuned_rate if phase(settings, epoch) else 1.0


def pretrained(settings: ModelSettings) -> dict[str, list[Float32Array]]:
    """Kernel and bias of each convolution, by layer, as ``weights`` says; empty for "none".

    Raises InputError when they cannot be downloaded or there is no such file, ModelError for a file of something else.
    """
    weights = (settings.vgg16 or Vgg16Settings()).weights
    if weights == "none":
        return {}
    return _from_file(_imagenet() if weights == "imagenet" else Path(weights))


def _imagenet() -> Path:
    """Keras' file of ImageNet's weights, in Keras' own cache, so that its other users find it too."""
    cache = Path(os.environ.get("KERAS_HOME") or "~/.keras").expanduser() / "models"
    try:
        return fetch(IMAGENET_URL, cache / IMAGENET_URL.rpartition("/")[2], md5=IMAGENET_MD5)
    except InputError as error:
        raise InputError(
            f"VGG16's ImageNet weights cannot be downloaded from {IMAGENET_URL}: {error}; give a copy of this file "
            "with --weights PATH, or begin without it: --weights none"
        ) from error


def _from_file(path: Path) -> dict[str, list[Float32Array]]:
    import keras

    if not path.is_file():
        raise InputError(f"{path}: no such file of weights; give --weights imagenet, none or a path")
    try:
        if _holds_model(path):
            donor = keras.models.load_model(path, compile=False)
        else:
            donor = keras.applications.VGG16(include_top=False, weights=None, input_shape=(32, 32, 3))
            _load_weights(donor, path)
        return _convolutions(donor)
    except (ValueError, TypeError, OSError, KeyError, AttributeError) as error:
        raise ModelError(f"{path}: holds no weights of VGG16's convolutions: {reason_of(error)[:200]}") from error


def _holds_model(path: Path) -> bool:
    """Whether it is a whole model, and not weights alone."""
    if path.suffix == ".keras":
        return True
    import h5py

    with h5py.File(path) as file:
        return "model_config" in file.attrs


def _load_weights(donor: Any, path: Path) -> None:
    """Put the weights in ``path`` into ``donor``, also those of a file that holds dense layers behind them."""
    import h5py

    with h5py.File(path) as file:
        if "layer_names" in file.attrs:  # Keras 2's, by name
            missing = {layer.name for layer in donor.layers if layer.weights} - set(file)
            if missing:
                raise ValueError(f"no layer {min(missing)} in it")
            donor.load_weights(path, by_name=True)
            return
    donor.load_weights(path)


def _convolutions(donor: Any) -> dict[str, list[Float32Array]]:
    names = [f"block{block}_conv{step}" for block, (_, count) in enumerate(_BLOCKS, 1) for step in range(1, count + 1)]
    return {name: donor.get_layer(name).get_weights() for name in names}
