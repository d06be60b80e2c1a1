"""Foreign model files: told apart and checked without TensorFlow, then loaded."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError, MissingExtraError, ModelError, reason_of
from fer_edge.system.stderr import hidden_stderr
from fer_train.backend import check_model_file

HDF5_SUFFIXES = (".h5", ".hdf5")
SAVED_MODEL = "saved_model.pb"
_SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A model as its own framework has it.

    ``shape`` is (height, width, channels) as the file says it, None for what it leaves open; ``trace`` gives a concrete
    function for a shape without open sides, and ``call`` answers an array [N, H, W, C] by the model as it is.
    ``keras`` is the Keras model where it is one.
    """

    kind: str
    shape: tuple[int | None, int | None, int]
    outputs: int
    trace: Callable[[tuple[int, int, int]], Any]
    call: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    keras: Any


def check_kind(path: Path) -> None:
    """Refuse what is no model of a known kind, before anything large is imported. Raises InputError, ModelError."""
    if path.is_dir():
        if not (path / SAVED_MODEL).is_file():
            raise InputError(
                f"{path}: holds no model.keras and no {SAVED_MODEL}: no finished run, SavedModel or bundle"
            )
    elif path.suffix in HDF5_SUFFIXES:
        _check_hdf5(path)
    elif path.suffix == ".keras" or not path.exists():
        check_model_file(path)
    elif path.name == SAVED_MODEL:
        raise ModelError(f"{path}: is one file of a SavedModel: give the folder that it lies in")
    else:
        raise ModelError(
            f"{path}: not a model that can be converted: give a .keras or .h5 file, or the folder of a SavedModel, "
            "of a finished run or of a bundle"
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
        raise ModelError(f"{path}: holds weights and no network; save the whole model: model.save(...)")


def load(path: Path) -> Loaded:
    """Load what ``check_kind`` lets pass. Raises ModelError when it cannot, or for more than one input or output."""
    return _load_saved_model(path) if path.is_dir() else _load_keras(path)


def _load_keras(path: Path) -> Loaded:
    import keras
    import tensorflow as tf

    try:
        with hidden_stderr():
            model = keras.models.load_model(path, compile=False)
    except Exception as error:  # it raises whatever the file's contents ran into
        raise ModelError(f"{path}: {_loading_problem(error)}") from error
    if not getattr(model, "inputs", None):
        raise ModelError(f"{path}: its file does not say what it takes: export it as a SavedModel (model.export)")
    if _one(path, "inputs", model.inputs).shape[0] is not None:
        model = _for_any_number(model)
    shape = _one(path, "inputs", model.inputs).shape
    result = _one(path, "outputs", model.outputs).shape

    def trace(shape: tuple[int, int, int]) -> Any:
        pixels = tf.TensorSpec((None, *shape), tf.float32)
        return tf.function(lambda x: model(x, training=False), input_signature=[pixels]).get_concrete_function()

    def call(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(model(images, training=False), np.float32)

    kind = "a Keras file" if path.suffix == ".keras" else "a Keras file in HDF5"
    return Loaded(kind, _image(path, shape), _row(path, result), trace, call, model)


def _for_any_number(model: Any) -> Any:
    """``model`` without the batch of fixed size that a Sequential keeps whose first layer was not told its input.

    As it is where its layers cannot do without it.
    """
    import keras

    given = model.inputs[0]
    try:
        clone = keras.models.clone_model(model, input_tensors=keras.Input(given.shape[1:], dtype=given.dtype))
        clone.set_weights(model.get_weights())
    except Exception:  # noqa: BLE001  of layers that are somebody else's; the fixed batch is refused then
        return model
    return clone


def _load_saved_model(path: Path) -> Loaded:
    import tensorflow as tf

    try:
        with hidden_stderr():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises many kinds, its own and Python's
        raise ModelError(f"{path}: TensorFlow cannot load this SavedModel: {_first_line(error)}") from error
    names = list(loaded.signatures)
    if not names or (_SIGNATURE not in names and len(names) > 1):
        told = ", ".join(names) or "none"
        raise ModelError(f"{path}: has no signature {_SIGNATURE}, only {told}: export it with one (model.export)")
    serve = loaded.signatures[_SIGNATURE if _SIGNATURE in names else names[0]]
    name, spec = _one(path, "inputs", list(serve.structured_input_signature[1].items()))
    answer, result = _one(path, "outputs", list(serve.structured_outputs.items()))
    if spec.dtype != tf.float32:
        raise ModelError(f"{path}: takes {spec.dtype.name}; wanted float32 pixels")

    def apply(x: Any) -> Any:
        return serve(**{name: x})[answer]

    def trace(shape: tuple[int, int, int]) -> Any:
        given = tf.TensorSpec((None, *shape), tf.float32)
        # The signature goes with its variables: without a reference they would be gone before the trace is used.
        function = tf.function(apply, input_signature=[given]).get_concrete_function()
        function.kept_alive = loaded
        return function

    def call(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(apply(tf.constant(images)), np.float32)

    return Loaded("a SavedModel", _image(path, tuple(spec.shape)), _row(path, tuple(result.shape)), trace, call, None)


def _one(path: Path, side: str, found: list[Any]) -> Any:
    if len(found) != 1:
        raise ModelError(f"{path}: has {len(found)} {side}; wanted one image in and one row of numbers out")
    return found[0]


def _image(path: Path, shape: Any) -> tuple[int | None, int | None, int]:
    if len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3):
        raise ModelError(f"{path}: takes {shape}, channels first, which is not supported: save it with channels last")
    if len(shape) != 4 or shape[3] not in (1, 3):
        raise ModelError(
            f"{path}: takes {tuple(shape)}; wanted images with one channel or three, (N, height, width, 1 or 3)"
        )
    if shape[0] is not None:
        images = "1 image" if shape[0] == 1 else f"{shape[0]} images"
        raise ModelError(f"{path}: takes exactly {images} at once; save it with None as its number of images")
    return shape[1], shape[2], shape[3]


def _row(path: Path, shape: Any) -> int:
    if len(shape) != 2 or shape[1] is None:
        raise ModelError(f"{path}: gives {tuple(shape)}; wanted one row of numbers for an image, (N, labels)")
    return int(shape[1])


def _loading_problem(error: Exception) -> str:
    text = str(error)
    unknown = re.search(
        r"Could not locate (?:class|function) '([^']+)'|Unknown layer: '?([\w>]+)|Unknown (\w+) layer", text
    )
    if unknown or "Lambda" in text:
        part = next(filter(None, unknown.groups()), "").rpartition(">")[2] if unknown else "Lambda"
        return (
            f"holds {part}, which is code and not in the file: where the code is, export the model as a SavedModel "
            "(model.export) and convert that"
        )
    return f"Keras cannot load it: {_first_line(error)}"


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return reason_of(error)[:200] if len(lines) < 2 else lines[0][:200]
