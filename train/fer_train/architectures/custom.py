"""A network of somebody else's: ``architecture = "module:function"``.

The function is called with the height and width of the images in pixels and the number of labels, and returns a Keras
model. Its module is looked for in the current folder too. It runs with the rights of who trains: name only code that
you trust.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import ConfigError, reason_of


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
