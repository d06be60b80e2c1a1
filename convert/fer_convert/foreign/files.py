"""Recognize and check foreign model files without TensorFlow, then load them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_convert.foreign.onnx_file import EXPORTED, ONNX, check_packages, load_exported, load_onnx
from fer_convert.foreign.saved_model import (
    SAVED_MODEL,
    Loaded,
    first_line,
    image_shape,
    load_saved_model,
    only,
    row_length,
)
from fer_edge.errors import InputError, MissingExtraError, ModelError
from fer_edge.system.stderr import hidden_stderr
from fer_train.networks.model_files import check_model_file

HDF5_SUFFIXES = (".h5", ".hdf5")


def check_kind(path: Path) -> None:
    """Raise InputError or ModelError if ``path`` is not a model of a known kind. Imports nothing large."""
    if path.is_dir():
        if not (path / SAVED_MODEL).is_file():
            raise InputError(
                f"{path}: contains neither model.keras nor {SAVED_MODEL}: not a finished run, SavedModel or bundle"
            )
    elif path.suffix in HDF5_SUFFIXES:
        _check_hdf5(path)
    elif path.suffix in (ONNX, EXPORTED) and path.exists():
        check_packages(path.suffix)
    elif path.suffix == ".keras" or not path.exists():
        check_model_file(path)
    elif path.name == SAVED_MODEL:
        raise ModelError(f"{path}: is one file of a SavedModel: give its folder")
    elif path.suffix == ".tflite":
        raise ModelError(f"{path}: is converted already: `fer-edge bundle make` makes a bundle of it")
    elif path.suffix in (".pt", ".pth"):
        raise ModelError(
            f"{path}: holds weights, or code for one version of PyTorch: where the model's code is, save it with "
            "torch.export.save(torch.export.export(model.eval(), (image,)), 'model.pt2') and convert that"
        )
    else:
        raise ModelError(
            f"{path}: not a model that can be converted: give a .keras, .h5, .onnx or .pt2 file, or the folder of a "
            "SavedModel, of a finished run or of a bundle"
        )


def _check_hdf5(path: Path) -> None:
    try:
        import h5py
    except ModuleNotFoundError:
        raise MissingExtraError("h5py", "convert") from None
    if not path.exists():
        raise InputError(f"{path}: no such model file")
    try:
        with h5py.File(path) as file:
            whole = "model_config" in file.attrs
    except OSError:
        raise ModelError(f"{path}: not an HDF5 file: empty, truncated or of another format") from None
    if not whole:
        raise ModelError(f"{path}: contains only weights; save the whole model: model.save(...)")


def load(path: Path, size: tuple[int, int] | None = None) -> Loaded:
    """Load a file that passed ``check_kind``.

    Args:
        path: The file or folder.
        size: Height and width in pixels, for an ONNX file or a ``.pt2`` file that does not define them.

    Raises:
        InputError: If ``size`` is needed.
        ModelError: If the file cannot be loaded, or has more than one input or output.
    """
    if path.suffix == ONNX:
        return load_onnx(path, size)
    if path.suffix == EXPORTED:
        return load_exported(path, size)
    return load_saved_model(path) if path.is_dir() else _load_keras(path)


def _load_keras(path: Path) -> Loaded:
    import keras
    import tensorflow as tf

    try:
        with hidden_stderr():
            model = keras.models.load_model(path, compile=False)
    except Exception as error:  # Keras raises exceptions of any type
        raise ModelError(f"{path}: {_loading_problem(error)}") from error
    if not getattr(model, "inputs", None):
        raise ModelError(f"{path}: its file does not define its input: export it as a SavedModel (model.export)")
    if only(path, "inputs", model.inputs).shape[0] is not None:
        model = _for_any_number(model)
    shape = only(path, "inputs", model.inputs).shape
    result = only(path, "outputs", model.outputs).shape

    def trace(shape: tuple[int, int, int]) -> Any:
        pixels = tf.TensorSpec((None, *shape), tf.float32)
        return tf.function(lambda x: model(x, training=False), input_signature=[pixels]).get_concrete_function()

    def call(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(model(images, training=False), np.float32)

    kind = "a Keras file" if path.suffix == ".keras" else "a Keras file in HDF5"
    return Loaded(kind, image_shape(path, shape), row_length(path, result), trace, call, model)


def _for_any_number(model: Any) -> Any:
    """Return ``model`` without a fixed batch size, which a Sequential without an Input layer has.

    Returns ``model`` itself if its layers need the batch size.
    """
    import keras

    given = model.inputs[0]
    try:
        clone = keras.models.clone_model(model, input_tensors=keras.Input(given.shape[1:], dtype=given.dtype))
        clone.set_weights(model.get_weights())
    except Exception:  # noqa: BLE001  foreign layers raise any type; the fixed batch is refused later
        return model
    return clone


def _loading_problem(error: Exception) -> str:
    text = str(error)
    unknown = re.search(
        r"Could not locate (?:class|function) '([^']+)'|Unknown layer: '?([\w>]+)|Unknown (\w+) layer", text
    )
    if unknown or "Lambda" in text:
        part = next(filter(None, unknown.groups()), "").rpartition(">")[2] if unknown else "Lambda"
        return (
            f"contains {part}, whose code is not in the file: where the code is, export the model as a SavedModel "
            "(model.export) and convert that"
        )
    return f"Keras cannot load it: {first_line(error)}"
