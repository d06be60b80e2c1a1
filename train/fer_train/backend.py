"""Loads Keras and its backend: quietly, and with one clear line when either is missing."""

from __future__ import annotations

import importlib
import logging
import os
import warnings
from typing import Any

from fer_edge.errors import ConfigError, MissingExtraError
from fer_edge.quiet import quiet_stderr

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
    # TensorFlow's deprecation notes are for the authors of this package, not for its users.
    logging.getLogger("absl").setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"tensorflow|keras")
    try:
        with quiet_stderr():
            importlib.import_module(chosen)
            return importlib.import_module("keras")
    except ModuleNotFoundError as error:
        raise MissingExtraError((error.name or chosen).partition(".")[0], extra) from error
