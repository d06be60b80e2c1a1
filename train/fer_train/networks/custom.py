"""A network of somebody else's: ``architecture = "module:function"``.

The function is called with the height and width of the images in pixels and the number of labels, and returns a Keras
model. Its module is looked for in the current folder too. It runs with the rights of who trains: name only code that
you trust.
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
from fer_train.networks.fer_edge import every_layer

_PASSING = {"name", "dtype", "seed", "trainable", "build_config"}
"""Settings of a layer that may differ from one building of a network to the next."""


def load_builder(name: str) -> Callable[[int, int, int], Any]:
    """The function that ``module:function`` names. Raises ConfigError saying why there is none."""
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
    """Import the builder that a run's resolved recipe names, if any: what its layers are made of may be registered
    there. Raises ConfigError when it cannot be."""
    if run_config.is_file():
        model = read_toml(run_config).get("model", {})
        name = str(model.get("architecture", "")) if isinstance(model, dict) else ""
        if ":" in name:
            load_builder(name)


def check(name: str, labels: int, sizes: Sequence[tuple[int, int]]) -> None:
    """Raises ConfigError unless a run can be made of it: see ``build``.

    Its networks of all ``sizes`` (height, width) must have the same weights, and a file must keep what they are.
    """
    first = build(name, labels, *sizes[0])
    check_logits(name, first)
    shapes = [tuple(weight.shape) for weight in first.weights]
    for size in sizes[1:]:
        other = [tuple(weight.shape) for weight in build(name, labels, *size).weights]
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
    """Save ``model`` and load it, as checkpoints and conversion do later."""
    import keras

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        try:
            model.save(path)
            keras.models.load_model(path, compile=False)
        except Exception as error:  # of layers that are somebody else's code
            raise ConfigError(
                f"model.architecture {name}: its model cannot be kept in a file and loaded again: "
                f"{reason_of(error).partition('. ')[0][:160]}; layers of your own need get_config and "
                "@keras.saving.register_keras_serializable(), and take the place of Lambda"
            ) from error


def check_same(name: str, saved: Any, model: Any) -> None:
    """Raises ConfigError when ``saved``, of a checkpoint, has other layers than ``model``, sizes of images apart."""
    before, now = _told(saved), _told(model)
    if before != now:
        raise ConfigError(
            f"model.architecture {name}: builds another network now than when the run began ({_difference(before, now)}"
            " in its checkpoint): put the function back as it was, or begin anew"
        )


def _difference(before: list[tuple[str, Any]], now: list[tuple[str, Any]]) -> str:
    """What ``before`` has where ``now`` first differs."""
    for (kind, was), (other, settings) in zip(before, now, strict=False):
        if kind != other:
            return kind
        for key, value in was.items():
            if settings.get(key) != value:
                return f"{kind} with {key} = {value!r:.60}"
    return f"{len(before)} layers"


def _told(model: Any) -> list[tuple[str, Any]]:
    """Kind and settings of every layer but those for input, without what two buildings of one network differ in."""
    layers = [(type(layer).__name__, _lasting(layer.get_config())) for layer in every_layer(model)]
    return [layer for layer in layers if layer[0] != "InputLayer"]


def _lasting(config: Any) -> Any:
    if isinstance(config, dict):
        return {key: _lasting(value) for key, value in config.items() if key not in _PASSING}
    return [_lasting(value) for value in config] if isinstance(config, list | tuple) else config


def build(name: str, labels: int, height: int, width: int) -> Any:
    """What the function makes, held to the contract. Raises ConfigError when it fails or makes something else."""
    import keras

    builder = load_builder(name)
    try:
        model = builder(height, width, labels)
    except Exception as error:  # it is somebody else's code
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


def check_logits(name: str, model: Any) -> None:
    """Raise ConfigError when ``model``, which ``build`` made, answers with probabilities."""
    # On any other input, probabilities sum to 1 and logits do not.
    noise = np.random.default_rng(0).uniform(0, 255, (4, *model.input_shape[1:])).astype(np.float32)
    answers = np.asarray(model.predict_on_batch(noise))
    if np.all(answers >= 0) and np.allclose(answers.sum(axis=1), 1, atol=1e-3):
        raise ConfigError(f"model.architecture {name}: its model ends in a softmax; wanted logits, so leave it out")
