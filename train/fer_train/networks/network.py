"""``Network``: what the training loop needs to know about an architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

from fer_edge.types import Float32Array
from fer_train.networks.blocks import LayerKinds
from fer_train.recipe.recipe import Recipe


class Network(ABC):
    """The network of ``recipe`` for ``labels`` labels and images of ``size`` (height, width).

    An architecture implements ``build``. The other methods have defaults for a network that takes images of any size
    and trains all of its layers in each epoch; an architecture overrides those that differ. Epochs count from 0.
    """

    def __init__(self, recipe: Recipe, labels: int, size: tuple[int, int]) -> None:
        """Store the settings; nothing is built yet.

        Raises:
            InputError: if the network cannot be trained at the recipe's sizes.
        """
        self._settings, self._loop = recipe.model, recipe.loop
        self._labels, self._size = labels, size
        self._initial_weights: Sequence[Float32Array] = ()

    @abstractmethod
    def build(self, kinds: LayerKinds | None = None, size: tuple[int, int] | None = None) -> Any:
        """Return a new Keras model for images of ``size``, or of any size if that is None.

        ``kinds`` replaces Keras' own layers.
        """

    def prepare(self, *, resumed: bool) -> None:  # noqa: B027 - most networks need nothing
        """Check the network and get what it starts from, before anything is written. ``resumed``: a run continues.

        Raises:
            InputError, ModelError: if pretrained weights cannot be loaded.
            ConfigError: if the network cannot be built as the recipe says.
        """

    def start_from(self, weights: Sequence[Float32Array]) -> None:
        """Set the first weights of ``for_training``; layers after the last of ``weights`` stay random."""
        self._initial_weights = weights

    def for_training(self, epoch: int, kinds: LayerKinds | None = None) -> Any:
        """Return a new model whose trainable layers are those that ``epoch`` trains, with its first weights."""
        side = self.input_side(epoch)
        model = self.build(kinds, None if side is None else (side, side))
        if self._initial_weights:
            model.set_weights([*self._initial_weights, *model.get_weights()[len(self._initial_weights) :]])
        return model

    def for_validation(self, trained: Any) -> Any:
        """Return ``trained``, or a model with its weights, that takes images of the data set's size."""
        return trained

    def for_inference(self, trained: Any) -> Any:
        """Return a model of fixed input size with the weights of ``trained``, without layers only training needs."""
        model = self.build(None, self._size)
        model.set_weights(trained.get_weights())
        return model

    def check_same(self, saved: Any, model: Any) -> None:  # noqa: B027 - most cannot change
        """Check that ``saved``, from a checkpoint, is the same network as ``model``.

        Raises:
            ConfigError: if it is not.
        """

    def phase(self, epoch: int) -> int:
        """Return a number that changes when the trainable layers change."""
        return 0

    def input_side(self, epoch: int) -> int | None:
        """Return the side in pixels for which the model of ``epoch`` is built; None: any."""
        return None

    def rate_factor(self, epoch: int) -> float:
        """Return the factor on the learning rate in ``epoch``."""
        return 1.0
