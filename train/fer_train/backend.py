"""Load Keras and its backend without their startup messages; a missing package is reported in one line."""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from fer_edge.errors import ConfigError, MissingExtraError
from fer_edge.system.extras import require_modules
from fer_edge.system.stderr import hidden_stderr

_BACKENDS = ("tensorflow", "jax", "torch")
_OPTIONAL = ("jax", "matplotlib", "pandas", "sklearn")
"""What Keras and TensorFlow import where it is installed, for functions that are not used here; half of their start."""


def load_keras(backend: str | None = None, *, extra: str = "train") -> Any:
    """Return the keras module on ``backend``, or on KERAS_BACKEND (default: tensorflow).

    Call it before any ``import keras``.

    Raises:
        MissingExtraError: if Keras or the backend is not installed. It names ``extra``.
        ConfigError: if the backend is unknown.
    """
    chosen = backend or os.environ.get("KERAS_BACKEND", "tensorflow")
    if chosen not in _BACKENDS:
        raise ConfigError(f"KERAS_BACKEND must be one of {', '.join(_BACKENDS)}, not {chosen!r}")
    os.environ["KERAS_BACKEND"] = chosen
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's warnings about deprecation and retracing are for this project's developers, not for its users.
    for name in ("absl", "tensorflow"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"tensorflow|keras")
    try:
        with hidden_stderr(), _hidden_modules(*(name for name in _OPTIONAL if name != chosen)):
            importlib.import_module(chosen)
            return importlib.import_module("keras")
    except ModuleNotFoundError as error:
        missing = (error.name or chosen).partition(".")[0]
        raise MissingExtraError(missing, missing if missing in ("jax", "torch") else extra) from error


@contextmanager
def _hidden_modules(*names: str) -> Iterator[None]:
    """Let an import of those of the modules that are not loaded yet fail, as if they were not installed."""
    hidden = [name for name in names if name not in sys.modules]
    sys.modules.update(dict.fromkeys(hidden))  # type: ignore[arg-type]  # None: see importlib's documentation
    try:
        yield
    finally:
        for name in hidden:
            del sys.modules[name]


def backend_for_training() -> str | None:
    """Return "torch" if PyTorch has a GPU here, or is the only backend installed; None: as ``load_keras`` chooses.

    KERAS_BACKEND goes before it.
    """
    if "KERAS_BACKEND" in os.environ or importlib.util.find_spec("torch") is None:
        return None
    if importlib.util.find_spec("tensorflow") is None:
        return "torch"
    import torch

    return "torch" if torch.cuda.is_available() else None


def check_packages() -> None:
    """Check that the packages for training are installed, other than a backend; imports nothing.

    Raises:
        MissingExtraError: if one is not.
    """
    require_modules(("keras", "matplotlib", "sklearn", "tqdm"), "train")
