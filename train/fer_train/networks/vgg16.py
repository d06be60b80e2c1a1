"""VGG16 (Simonyan & Zisserman, arXiv:1409.1556) as a feature extractor, with a new head.

The convolutions start from ImageNet weights. First only the head is trained, then also the last blocks, at a lower
rate. The graph enlarges the image, repeats it in three channels and subtracts ImageNet's means, so that the input is
raw grey pixels, as for the other networks.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import InputError, ModelError, reason_of
from fer_edge.types import Float32Array
from fer_train.networks.blocks import LayerKinds
from fer_train.networks.download import fetch
from fer_train.networks.network import Network
from fer_train.recipe.model import Vgg16Settings
from fer_train.recipe.recipe import Recipe

IMAGENET_MEANS_BGR = (103.939, 116.779, 123.68)
"""Means that VGG16 subtracts from each channel: ``keras.applications.imagenet_utils``, mode "caffe"."""
IMAGENET_URL = (
    "https://storage.googleapis.com/tensorflow/keras-applications/vgg16/"
    "vgg16_weights_tf_dim_ordering_tf_kernels_notop.h5"
)
"""The file of 59 MB that ``keras.applications.VGG16`` downloads."""
IMAGENET_MD5 = "6d6bbae143d832006294945121d1f1fc"
"""The checksum that Keras expects of it."""
_BLOCKS = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))
"""Channels and convolutions of each block."""


class Vgg16(Network):
    """VGG16 with ``model.vgg16``; Keras' own layers only."""

    def __init__(self, recipe: Recipe, labels: int, size: tuple[int, int]) -> None:
        """Raises InputError if five halvings reduce the smallest images to nothing."""
        super().__init__(recipe, labels, size)
        self._own = recipe.model.vgg16 or Vgg16Settings()
        self._pretrained: dict[str, list[Float32Array]] = {}
        side, enlarge = min(*recipe.loop.sizes, *size), self._own.enlarge
        if side * enlarge < 32:
            raise InputError(f"vgg16 needs 32 pixels; {side} times model.vgg16.enlarge are {side * enlarge}: raise it")

    def build(self, kinds: LayerKinds | None = None, size: tuple[int, int] | None = None) -> Any:
        """As ``Network`` says."""
        return _build(self._own, self._settings.dropout, self._labels, *(size or (None, None)))

    def prepare(self, *, resumed: bool) -> None:
        """As ``Network`` says: load the weights of the convolutions."""
        if not resumed:
            self._pretrained = _pretrained(self._own.weights)

    def for_training(self, epoch: int, kinds: LayerKinds | None = None) -> Any:
        """As ``Network`` says: the head is always trained, the last blocks after ``frozen_epochs``."""
        model = super().for_training(epoch, kinds)
        for name, weights in self._pretrained.items():
            model.get_layer(name).set_weights(weights)
        first = len(_BLOCKS) + 1 - (self._own.tuned_blocks if self.phase(epoch) else 0)
        for layer in model.layers:
            if layer.name.startswith("block"):
                layer.trainable = int(layer.name[len("block")]) >= first
        return model

    def phase(self, epoch: int) -> int:
        """Return 0 while only the head is trained, then 1."""
        return int(epoch >= self._own.frozen_epochs)

    def rate_factor(self, epoch: int) -> float:
        """Return ``tuned_rate`` once convolutions are trained."""
        return self._own.tuned_rate if self.phase(epoch) else 1.0


def _build(own: Vgg16Settings, dropout: float, labels: int, height: int | None, width: int | None) -> Any:
    """Return the Keras model with random weights."""
    import keras

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
    x = keras.layers.Dropout(dropout, name="dropout")(x)
    logits = keras.layers.Dense(labels, dtype="float32", name="logits")(x)
    return keras.Model(pixels, logits, name="vgg16")


def _pretrained(weights: str) -> dict[str, list[Float32Array]]:
    """Return kernel and bias of each convolution by the layer's name; empty for "none".

    Raises:
        InputError: if the weights cannot be downloaded or the file does not exist.
        ModelError: if the file contains something else.
    """
    if weights == "none":
        return {}
    return _from_file(_imagenet() if weights == "imagenet" else Path(weights))


def _imagenet() -> Path:
    """Return the path of the ImageNet weights in Keras' own cache, which other programs share; download if missing."""
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
        raise InputError(f"{path}: this file of weights does not exist; give --weights imagenet, none or a path")
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
    """Return whether the file contains a whole model, not only weights."""
    if path.suffix == ".keras":
        return True
    import h5py

    with h5py.File(path) as file:
        return "model_config" in file.attrs


def _load_weights(donor: Any, path: Path) -> None:
    """Load the weights in ``path`` into ``donor``; the file may also contain dense layers after the convolutions."""
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
