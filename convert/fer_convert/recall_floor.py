"""Offsets on the logits that keep a rare class from being forgotten.

A network trained for top-1 hardly ever answers a class that is rare: it is seldom the likeliest. An offset on that
class's logit, which is the bias of the last layer and costs nothing on the device, moves the border (logit adjustment,
Menon et al., arXiv:2007.07314). Chosen on PublicTest, like everything else.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError, ModelError
from fer_edge.types import Float32Array

_ROUNDS = 50
_HAIR = 1e-3
"""Added to an offset, so that rounding in the file does not undo it."""


def fit_offsets(
    logits: Float32Array, truth: npt.NDArray[np.int64], labels: Sequence[str], floors: Mapping[str, float]
) -> Float32Array:
    """The smallest offsets >= 0, float32 [labels], that give each label of ``floors`` at least its recall (0..1).

    ``logits`` is [N, labels], ``truth`` [N]. Raises InputError for a label that is unknown or has no image, and when
    the floors contradict each other.
    """
    offsets = np.zeros(len(labels))
    wanted = {_index(label, labels, truth): floor for label, floor in floors.items()}
    for _ in range(_ROUNDS):  # raising one class takes from the others, so they take turns
        before = offsets.copy()
        for index, floor in wanted.items():
            offsets[index] += _missing(logits + offsets, truth, index, floor)
        if np.array_equal(before, offsets):
            return offsets.astype(np.float32)
    told = ", ".join(f"{label}={floor:g}" for label, floor in floors.items())
    raise InputError(f"--min-recall {told}: no offsets give all of these recalls at once; ask for less")


def apply_offsets(model: Any, offsets: Float32Array) -> None:
    """Add ``offsets`` [labels] to the logits of a Keras model, in place. Raises ModelError when its end has no bias."""
    last = model.layers[-1]
    if getattr(last, "bias", None) is None:
        raise ModelError(f"its last layer, {last.name}, has no bias to put --min-recall's offsets into")
    last.bias.assign(np.asarray(last.bias) + offsets)


def _index(label: str, labels: Sequence[str], truth: npt.NDArray[np.int64]) -> int:
    if label not in labels:
        raise InputError(f"--min-recall: no label {label!r}; there are {', '.join(labels)}")
    index = list(labels).index(label)
    if not (truth == index).any():
        raise InputError(f"--min-recall: the validation split has no image of {label!r} to measure its recall on")
    return index


def _missing(logits: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.int64], index: int, floor: float) -> float:
    """What to add to a class's logit for a recall of ``floor``; 0 where it has that."""
    own = logits[truth == index]
    margins = np.sort(np.delete(own, index, axis=1).max(axis=1) - own[:, index])
    needed = math.ceil(floor * len(margins) - 1e-9)
    if needed == 0 or (own.argmax(axis=1) == index).sum() >= needed:
        return 0.0
    return float(max(margins[needed - 1], 0.0)) + _HAIR
