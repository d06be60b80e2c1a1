"""Loads Keras and its backend, and model files: quietly, and with one clear line when something is missing."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import ConfigError, InputError, MissingExtraError, ModelError
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import Float32Array, UInt8Array
from fer_train.networks.custom import import_builder_of
from fer_train.recipe.recipe import RUN_CONFIG

_BACKENDS = ("tensorflow", "jax", "torch")


def load_keras(backend: str | None = None, *, extra: str = "train") -> Any:
    """The keras module on ``backend``, or on KERAS_BACKEND (default tensorflow); call it before any ``import keras``.

    Raises MissingExtraError, which names ``extra``, when Keras or the backend is not installed, ConfigError for an
    unknown backend.
    """
    chosen = backend or os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen not in _BACKENDS:
        raise ConfigError(f"KERAS_BACKEND must be one of {', '.join(_BACKENDS)}, not {chosen!r}")
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's notes on deprecation and retracing are for the authors of this package, not for its users.
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"tensorflow|keras")
    try:
        with hidden_stderr():
            importlib.import_module(chosen)
            return importlib.import_module("keras")
    except ModuleNotFoundError as error:
        missing = (error.name or chosen).partition(".")[0]
        raise MissingExtraError(missing, missing if missing in ("jax", "torch") else extra) from error


def check_packages() -> None:
    """Raises MissingExtraError for what training needs beside a backend and is not installed; imports nothing."""
    for package in ("keras", "matplotlib", "sklearn", "tqdm"):
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "train")


def load_model(path: Path) -> Any:
    """The Keras model at ``path``, not compiled. Raises InputError when there is none, ModelError when refused."""
    check_model_file(path)
    keras = load_keras()
    import_builder_of(path.with_name(RUN_CONFIG))
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: Keras cannot load it: {reason}") from error


def check_model_file(path: Path) -> None:
    """Refuse what is no ``.keras`` file: Keras's own complaints run over several lines, and come seconds later.

    Raises InputError when there is nothing at ``path``, ModelError for something else.
    """
    if not path.exists():
        raise InputError(f"{path}: no such model file")
    try:
        with zipfile.ZipFile(path) as archive:
            members = set(archive.namelist())
    except (zipfile.BadZipFile, OSError):
        members = set()
    if not {"config.json", "model.weights.h5"} <= members:
        raise ModelError(f"{path}: not a Keras 3 model file (.keras): empty, truncated or of another format")


def check_contract(path: Path, model: Any, labels: Sequence[str] | None = None) -> tuple[int, int]:
    """Height and width in pixels of the images that a Keras model takes.

    Raises ModelError unless it maps grey pixels [N, H, W, 1] of one fixed size to logits [N, labels], one for each of
    ``labels`` where they are known.
    """
    given, result = model.input_shape, model.output_shape
    if not isinstance(given, tuple) or len(given) != 4 or given[3] != 1 or None in given[1:3]:
        raise ModelError(f"{path}: takes {given}; wanted one grey input of fixed size, (None, height, width, 1)")
    wanted = "one row of logits" if labels is None else f"one logit for each of {len(labels)} labels"
    if not isinstance(result, tuple) or len(result) != 2 or (labels is not None and result != (None, len(labels))):
        raise ModelError(f"{path}: gives {result}; wanted {wanted}")
    last = model.layers[-1]
    if getattr(getattr(last, "activation", None), "__name__", "linear") != "linear":
        raise ModelError(
            f"{path}: ends in {last.activation.__name__}; wanted logits, so a last layer without activation"
        )
    return int(given[1]), int(given[2])


def predict_logits(model: Any, images: UInt8Array, batch_size: int = 256) -> Float32Array:
    """Logits float32 [N, labels] of a Keras model for uint8 [N, H, W]."""
    pixels = images[..., np.newaxis].astype(np.float32)
    return np.asarray(model.predict(pixels, batch_size=batch_size, verbose=0), dtype=np.float32)
