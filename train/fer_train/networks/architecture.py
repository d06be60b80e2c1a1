"""``Architecture``: what the training loop asks of any network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from fer_edge.types import Float32Array
from fer_train.networks import custom, mini_xception, vgg16
from fer_train.networks.blocks import LayerKinds, transfer_weights
from fer_train.networks.fer_edge import build_model
from fer_train.recipe.recipe import Recipe
from fer_train.training.fine_tuning import first_weights


class Architecture:
    """The network of ``recipe`` for ``labels`` labels and images of ``size`` (height, width)."""

    def __init__(self, recipe: Recipe, labels: int, size: tuple[int, int]) -> None:
        """Builds nothing yet. Raises InputError for sizes that the network cannot be trained at."""
        self._settings, self._loop = recipe.model, recipe.loop
        self._labels, self._size = labels, size
        self._pretrained: dict[str, list[Float32Array]] = {}
        self._begins_with: list[Float32Array] = []
        self._at_full_size: Any = None
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

    def prepare(self, labels: Sequence[str], *, resumed: bool) -> None:
        """Get what a run needs, before anything is written: a builder that works; from scratch, weights to begin with.

        Raises InputError or ModelError for weights that cannot be had, ConfigError for a builder that fails, or whose
        networks of the recipe's sizes do not share their weights.
        """
        if self.is_custom:
            sides = dict.fromkeys([self._size, *((side, side) for side in self._loop.sizes)])
            custom.check(self.name, self._labels, list(sides))
        elif self.name == "vgg16" and not resumed:
            self._pretrained = vgg16.pretrained(self._settings)
        if self._settings.weights and not resumed:
            self._begins_with = first_weights(Path(self._settings.weights), self._build(None), labels)

    def for_training(self, epoch: int, kinds: LayerKinds | None = None) -> Any:
        """A new model that learns what ``epoch`` (from 0) is to teach; for images of any size where it can be.

        ``kinds`` take the place of Keras' own layers. After ``prepare`` it has the weights to begin with.
        """
        side = self.built_side(epoch)
        model = self._build(kinds, None if side is None else (side, side))
        for layer, weights in self._pretrained.items():
            model.get_layer(layer).set_weights(weights)
        if self._begins_with:
            model.set_weights([*self._begins_with, *model.get_weights()[len(self._begins_with) :]])
        if self.name == "vgg16":
            vgg16.freeze(model, self._settings, epoch)
        return model

    def for_validation(self, trained: Any) -> Any:
        """``trained``, or a model with its weights, that takes images at the data set's size."""
        if not self.is_custom or trained.input_shape[1:3] == self._size:
            return trained
        if self._at_full_size is None:
            self._at_full_size = self._build(None, self._size)
        self._at_full_size.set_weights(trained.get_weights())
        return self._at_full_size

    def check_same(self, saved: Any, model: Any) -> None:
        """Raises ConfigError when a checkpoint is of another network than ``model``: a builder may have changed."""
        if self.is_custom:
            custom.check_same(self.name, saved, model)

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

    def built_side(self, epoch: int) -> int | None:
        """Side of the images in pixels that the model of ``epoch`` is built for; None: any."""
        return self._loop.size_at(epoch) if self.is_custom else None

    def rate_factor(self, epoch: int) -> float:
        """What the learning rate of ``epoch`` is multiplied with."""
        return vgg16.rate_factor(self._settings, epoch) if self.name == "vgg16" else 1.0

    def _build(self, kinds: LayerKinds | None, size: tuple[int, int] | None = None) -> Any:
        height, width = size or (None, None)
        if self.name == "fer_edge":
            return build_model(self._settings, self._labels, height, width, kinds=kinds)
        if self.name == "mini_xception":
            return mini_xception.build(self._labels, height, width, kinds)
        if self.name == "vgg16":
            return vgg16.build(self._settings, self._labels, height, width)
        return custom.build(self.name, self._labels, *(size or self._size))
