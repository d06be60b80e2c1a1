"""``Architecture``: what the training loop asks of any network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fer_edge.errors import ConfigError
from fer_edge.types import Float32Array
from fer_train.architectures import custom, mini_xception, vgg16
from fer_train.blocks import transfer_weights
from fer_train.config import Recipe
from fer_train.model import build_model


class Architecture:
    """The network of ``recipe`` for ``labels`` labels and images of ``size`` (height, width)."""

    def __init__(self, recipe: Recipe, labels: int, size: tuple[int, int]) -> None:
        """Builds nothing yet. Raises ConfigError and InputError for sizes that the network cannot be trained at."""
        self._settings = recipe.model
        self._labels, self._size = labels, size
        self._pretrained: dict[str, list[Float32Array]] = {}
        if self.is_custom and {(side, side) for side in recipe.loop.sizes} != {size}:
            raise ConfigError(
                f"loop.sizes {list(recipe.loop.sizes)}: {self.name} is built for the data set's images, "
                f"{size[0]}x{size[1]}, and learns at that size alone"
            )
        if self.name == "vgg16":
            vgg16.check_size(self._settings, min(*recipe.loop.sizes, *size))

    @property
    def name(self) -> str:
        """As the recipe says it."""
        return self._settings.architecture

    @property
    def is_custom(self) -> bool:
        """Whether it is ``module:function``."""
        return ":" in self.name

    def prepare(self) -> None:
        """Get what a run from scratch needs, before anything is written: pretrained weights, a builder that works.

        Raises InputError or ModelError for weights that cannot be had, ConfigError for a builder that fails.
        """
        if self.name == "vgg16":
            self._pretrained = vgg16.pretrained(self._settings)
        elif self.is_custom:
            custom.check_logits(self.name, self._build(None))

    def for_training(self, epoch: int, norm: Callable[..., Any] | None = None) -> Any:
        """A new model that learns what ``epoch`` (from 0) is to teach; for images of any size where it can be.

        ``norm`` takes the place of Keras' own BatchNormalization. After ``prepare`` it has the pretrained weights.
        """
        model = self._build(norm)
        for layer, weights in self._pretrained.items():
            model.get_layer(layer).set_weights(weights)
        if self.name == "vgg16":
            vgg16.freeze(model, self._settings, epoch)
        return model

    def for_keeping(self, trained: Any) -> Any:
        """``trained`` as the model to convert: of fixed input size, without what only training needs."""
        if self.name == "fer_edge":
            kept = build_model(self._settings, self._labels, *self._size, folded=True)
            transfer_weights(trained, kept)
        else:
            kept = self._build(None, self._size)
            kept.set_weights(trained.get_weights())
        return kept

    def phase(self, epoch: int) -> int:
        """A number that changes when other layers learn than before."""
        return vgg16.phase(self._settings, epoch) if self.name == "vgg16" else 0

    def rate_factor(self, epoch: int) -> float:
        """What the learning rate of ``epoch`` is multiplied with."""
        return vgg16.rate_factor(self._settings, epoch) if self.name == "vgg16" else 1.0

    def _build(self, norm: Callable[..., Any] | None, size: tuple[int, int] | None = None) -> Any:
        import keras

        height, width = size or (None, None)
        if self.name == "fer_edge":
            return build_model(self._settings, self._labels, height, width, norm=norm)
        if self.name == "mini_xception":
            return mini_xception.build(self._labels, height, width, norm or keras.layers.BatchNormalization)
        if self.name == "vgg16":
            return vgg16.build(self._settings, self._labels, height, width)
        return custom.build(self.name, self._labels, *self._size)
