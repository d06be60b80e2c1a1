"""A user's own network: ``architecture = "module:function"``.

The function is called with the height and width of the images in pixels and the number of labels, and returns a Keras
model. Its module may be in the current folder. It runs with the user's rights: name only code that you trust.
"""

from __future__ import annotations

import importlib
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import ConfigError, reason_of
from fer_edge.settings.toml_files import read_toml
from fer_train.networks.blocks import LayerKinds
from fer_train.networks.layers import every_layer
from fer_train.networks.network import Network
from fer_train.recipe.recipe import Recipe

_PASSING = {"name", "dtype", "seed", "trainable", "build_config"}
"""Settings of a layer that may differ between two models of one network."""


class CustomNetwork(Network):
    """The network that a user's function builds, one model for each size of images."""

    def __init__(self, recipe: Recipe, labels: int, size: tuple[int, int]) -> None:
        """As ``Network``."""
        super().__init__(recipe, labels, size)
        self._name = recipe.model.architecture
        self._at_full_size: Any = None

    def build(self, kinds: LayerKinds | None = None, size: tuple[int, int] | None = None) -> Any:
        """As ``Network`` says, for images of the data set's size if ``size`` is None.

        Raises:
            ConfigError: if the function fails, or returns something other than such a model.
        """
        return _build(self._name, self._labels, *(size or self._size))

    def prepare(self, *, resumed: bool) -> None:
        """Check the function's models of all sizes in the recipe."""
        sides = dict.fromkeys([self._size, *((side, side) for side in self._loop.sizes)])
        _check(self._name, self._labels, list(sides))

    def for_validation(self, trained: Any) -> Any:
        """As ``Network`` says."""
        if trained.input_shape[1:3] == self._size:
            return trained
        if self._at_full_size is None:
            self._at_full_size = self.build(None, self._size)
        self._at_full_size.set_weights(trained.get_weights())
        return self._at_full_size

    def check_same(self, saved: Any, model: Any) -> None:
        """As ``Network`` says: the function may have changed."""
        _check_same(self._name, saved, model)

    def input_side(self, epoch: int) -> int:
        """Return the side of the images of ``epoch``."""
        return self._loop.size_at(epoch)


def load_builder(name: str) -> Callable[[int, int, int], Any]:
    """Return the function that ``module:function`` names.

    Raises:
        ConfigError: if it cannot be imported.
    """
    module_name, _, function_name = name.partition(":")
    folder = str(Path.cwd())
    if folder not in sys.path:
        sys.path.append(folder)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # a module may raise anything while it is imported
        raise ConfigError(
            f"model.architecture {name}: cannot import {module_name} from the installed packages or {folder}: "
            f"{reason_of(error)}"
        ) from error
    builder = getattr(module, function_name, None)
    if not callable(builder):
        raise ConfigError(f"model.architecture {name}: {module.__file__} has no function {function_name}")
    found: Callable[[int, int, int], Any] = builder
    return found


def import_builder_of(run_config: Path) -> None:
    """Import the function that a run's resolved recipe names, if any: its module may register classes of layers.

    Raises:
        ConfigError: if it cannot be imported.
    """
    if run_config.is_file():
        model = read_toml(run_config).get("model", {})
        name = str(model.get("architecture", "")) if isinstance(model, dict) else ""
        if ":" in name:
            load_builder(name)


def _check(name: str, labels: int, sizes: Sequence[tuple[int, int]]) -> None:
    """Check that the models of all ``sizes`` (height, width) have the same weights, and can be saved and loaded.

    Raises:
        ConfigError: if they do not, or cannot be built.
    """
    first = _build(name, labels, *sizes[0])
    _check_logits(name, first)
    shapes = [tuple(weight.shape) for weight in first.weights]
    for size in sizes[1:]:
        other = [tuple(weight.shape) for weight in _build(name, labels, *size).weights]
        if other != shapes:
            was, now = next(
                (pair for pair in zip(shapes, other, strict=False) if pair[0] != pair[1]), ("so many", "other")
            )
            raise ConfigError(
                f"model.architecture {name}: for {size[0]}x{size[1]} pixels its network has other weights than for "
                f"{sizes[0][0]}x{sizes[0][1]} ({now}, not {was}), so it learns at one size alone: "
                f"loop.sizes = [{sizes[0][0]}]"
            )
    _check_kept(name, first)


def _check_kept(name: str, model: Any) -> None:
    """Save and load ``model``, as checkpoints and conversion do later."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
            keras.models.load_model(path, compile=False)
        except Exception as error:  # raised by layers of the user's own
            raise ConfigError(
                f"model.architecture {name}: its model cannot be kept in a file and loaded again: "
                f"{reason_of(error).partition('. ')[0][:160]}; layers of your own need get_config and "
                "@keras.saving.register_keras_serializable(), and replace Lambda"
            ) from error


def _check_same(name: str, saved: Any, model: Any) -> None:
    """Raise ConfigError if ``saved``, from a checkpoint, has other layers than ``model``, apart from image sizes."""
    before, now = _described(saved), _described(model)
    if before != now:
        raise ConfigError(
            f"model.architecture {name}: builds another network now than when the run began ({_difference(before, now)}"
            " in its checkpoint): restore the function, or start a new run"
        )


def _difference(before: list[tuple[str, Any]], now: list[tuple[str, Any]]) -> str:
    """Return what ``before`` contains at the first difference from ``now``."""
    for (kind, was), (other, settings) in zip(before, now, strict=False):
        if kind != other:
            return kind
        for key, value in was.items():
            if settings.get(key) != value:
                return f"{kind} with {key} = {value!r:.60}"
    return f"{len(before)} layers"


def _described(model: Any) -> list[tuple[str, Any]]:
    """Return kind and settings of each layer except inputs, without settings that may differ between two models."""
    layers = [(type(layer).__name__, _lasting(layer.get_config())) for layer in every_layer(model)]
    return [layer for layer in layers if layer[0] != "InputLayer"]


def _lasting(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _lasting(value) for key, value in config.items() if key not in _PASSING}
    return [_lasting(value) for value in config] if isinstance(config, list | tuple) else config


def _build(name: str, labels: int, height: int, width: int) -> Any:
    """Return the function's model, checked against the contract; raise ConfigError if the function or a check fails."""
    import keras

    builder = load_builder(name)
    try:
        model = builder(height, width, labels)
    except Exception as error:  # the user's code may raise anything
        raise ConfigError(
            f"model.architecture {name}: called with {height}, {width}, {labels} it raised "
            f"{type(error).__name__}: {reason_of(error)}"
        ) from error
    if not isinstance(model, keras.Model):
        raise ConfigError(f"model.architecture {name}: returned {type(model).__name__}, not a Keras model")
    for side, found, wanted in (
        ("takes", getattr(model, "input_shape", None), (None, height, width, 1)),
        ("gives", getattr(model, "output_shape", None), (None, labels)),
    ):
        if found != wanted:
            raise ConfigError(f"model.architecture {name}: its model {side} {found}, wanted {wanted}")
    return model


def _check_logits(name: str, model: Any) -> None:
    """Raise ConfigError if ``model`` returns probabilities."""
    # On noise, probabilities sum to 1 and logits do not.
    noise = np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype(np.float32)
    answers = np.asarray(model.predict_on_batch(noise))
    if np.all(answers >= 0) and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        raise ConfigError(f"model.architecture {name}: its model ends in a softmax; wanted logits, so leave it out")
