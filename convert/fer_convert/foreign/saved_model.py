"""Load a SavedModel, and check the shapes of a foreign model's input and output."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ModelError, reason_of
from fer_edge.system.stderr import hidden_stderr

SAVED_MODEL = "saved_model.pb"
_SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A foreign model in its own framework.

    Attributes:
        kind: Kind of file, for messages.
        shape: Height, width and channels; None for a side that the file does not define.
        outputs: Number of outputs.
        trace: Returns a TensorFlow concrete function for a given shape.
        call: Runs the original model on images, float32 [N, H, W, C].
        keras: The Keras model, if it is one.
        reference: Name of what ``call`` runs, if it is not TensorFlow.
    """

    kind: str
    shape: tuple[int | None, int | None, int]
    outputs: int
    trace: Callable[[tuple[int, int, int]], Any]
    call: Callable[[npt.NDArray[np.float32]], npt.NDArray[np.float32]]
    keras: Any
    reference: str | None = None


def load_saved_model(path: Path) -> Loaded:
    """Load the SavedModel in the folder ``path``. Raises ModelError if this fails or its signature is not supported."""
    import tensorflow as tf

    try:
        with hidden_stderr():
            loaded = tf.saved_model.load(str(path))
    except Exception as error:  # TensorFlow raises many kinds, its own and Python's
        raise ModelError(f"{path}: TensorFlow cannot load this SavedModel: {first_line(error)}") from error
    names = list(loaded.signatures)
    if not names or (_SIGNATURE not in names and len(names) > 1):
        found = ", ".join(names) or "none"
        raise ModelError(f"{path}: has no signature {_SIGNATURE}, only {found}: export it with one (model.export)")
    serve = loaded.signatures[_SIGNATURE if _SIGNATURE in names else names[0]]
    name, spec = only(path, "inputs", list(serve.structured_input_signature[1].items()))
    answer, result = only(path, "outputs", list(serve.structured_outputs.items()))
    if spec.dtype != tf.float32:
        raise ModelError(f"{path}: takes {spec.dtype.name}; wanted float32 pixels")

    def apply(x: Any) -> Any:
        return serve(**{name: x})[answer]

    def trace(shape: tuple[int, int, int]) -> Any:
        given = tf.TensorSpec((None, *shape), tf.float32)
        # The variables are freed with the SavedModel: keep it alive as long as the trace.
        function = tf.function(apply, input_signature=[given]).get_concrete_function()
        function.kept_alive = loaded
        return function

    def call(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return np.asarray(apply(tf.constant(images)), np.float32)

    return Loaded(
        "a SavedModel", image_shape(path, tuple(spec.shape)), row_length(path, tuple(result.shape)), trace, call, None
    )


def only(path: Path, side: str, found: list[Any]) -> Any:
    """Return the only element of ``found``, a model's inputs or outputs. Raises ModelError for another number."""
    if len(found) != 1:
        raise ModelError(f"{path}: has {len(found)} {side}; wanted one image in and one row of numbers out")
    return found[0]


def image_shape(path: Path, shape: Any) -> tuple[int | None, int | None, int]:
    """Return height, width and channels of an input (N, height, width, channels). Raises ModelError for others."""
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


def row_length(path: Path, shape: Any) -> int:
    """Return the length of an output (N, labels). Raises ModelError for another shape."""
    if len(shape) != 2 or shape[1] is None:
        raise ModelError(f"{path}: gives {tuple(shape)}; wanted one row of numbers for an image, (N, labels)")
    return int(shape[1])


def first_line(error: Exception) -> str:
    """Return the first line of an error's text, shortened."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return reason_of(error)[:200] if len(lines) < 2 else lines[0][:200]
