"""Keras model files: load, check the contract, predict."""

from __future__ import annotations

import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.errors import InputError, ModelError
from fer_edge.types import Float32Array, UInt8Array
from fer_train.backend import load_keras
from fer_train.networks.custom import import_builder_of
from fer_train.recipe.recipe import RUN_CONFIG


def load_model(path: Path) -> Any:
    """Return the Keras model at ``path``, not compiled.

    Raises:
        InputError: if there is no file.
        ModelError: if Keras cannot load it.
    """
    check_model_file(path)
    keras = load_keras()
    # Registers the layers in checkpoints of runs on PyTorch.
    from fer_train.networks import torch_conv, torch_norm  # noqa: F401

    import_builder_of(path.with_name(RUN_CONFIG))
    try:
        return keras.models.load_model(path, compile=False)
    except (ValueError, TypeError, OSError, KeyError, AttributeError, zipfile.BadZipFile) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ModelError(f"{path}: Keras cannot load it: {reason}") from error


def check_model_file(path: Path) -> None:
    """Check that ``path`` is a ``.keras`` file, without Keras, whose errors have several lines and come seconds later.

    Raises:
        InputError: if there is no file.
        ModelError: if it is not a ``.keras`` file.
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
    """Return height and width in pixels of the images that a Keras model takes.

    Raises:
        ModelError: unless the model maps grey pixels [N, H, W, 1] of one fixed size to logits [N, labels], one for each
            of ``labels`` if they are given.
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
    """Return the logits float32 [N, labels] of a Keras model for uint8 [N, H, W]."""
    pixels = images[..., np.newaxis].astype(np.float32)
    return np.asarray(model.predict(pixels, batch_size=batch_size, verbose=0), dtype=np.float32)
