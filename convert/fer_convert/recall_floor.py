"""Logit offsets that give rare classes a minimum recall.

A network trained for top-1 accuracy rarely predicts a rare class. An offset of that class's logit moves the decision
boundary (logit adjustment, Menon et al., arXiv:2007.07314). It is added to the bias of the last layer, so it costs
nothing on the device. The offsets are chosen on PublicTest, as all choices are.
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
_MARGIN = 1e-3
"""Added to an offset, so that rounding in the file does not undo it."""


def fit_offsets(
    logits: Float32Array, truth: npt.NDArray[np.int64], labels: Sequence[str], floors: Mapping[str, float]
) -> Float32Array:
    """Return the smallest non-negative offsets with which each label of ``floors`` has its minimum recall.

    Args:
        logits: Logits of the model, [N, labels].
        truth: True labels, [N].
        labels: Names of the labels.
        floors: Minimum recall (0..1) by label.

    Returns:
        Offsets, float32 [labels].

    Raises:
        InputError: If a label is unknown or has no image, or if no offsets satisfy all floors.
    """
    offsets = np.zeros(len(labels))
    wanted = {_index(label, labels, truth): floor for label, floor in floors.items()}
    for _ in range(_ROUNDS):  # raising one class lowers the recall of others, so repeat
        before = offsets.copy()
        for index, floor in wanted.items():
            offsets[index] += _missing(logits + offsets, truth, index, floor)
        if np.array_equal(before, offsets):
            return offsets.astype(np.float32)
    given = ", ".join(f"{label}={floor:g}" for label, floor in floors.items())
    raise InputError(f"--min-recall {given}: no offsets give all of these recalls at once; ask for less")


def apply_offsets(model: Any, offsets: Float32Array) -> None:
    """Add ``offsets`` [labels] to a Keras model's logits, in place. Raises ModelError if its last layer has no bias."""
    last = model.layers[-1]
    if getattr(last, "bias", None) is None:
        raise ModelError(f"its last layer, {last.name}, has no bias, to which --min-recall adds its offsets")
    last.bias.assign(np.asarray(last.bias) + offsets)


def _index(label: str, labels: Sequence[str], truth: npt.NDArray[np.int64]) -> int:
    if label not in labels:
        raise InputError(f"--min-recall: no label {label!r}; there are {', '.join(labels)}")
    index = list(labels).index(label)
    if not (truth == index).any():
        raise InputError(f"--min-recall: the validation split has no image of {label!r} to measure its recall on")
    return index


def _missing(logits: npt.NDArray[np.floating[Any]], truth: npt.NDArray[np.int64], index: int, floor: float) -> float:
    """Return the offset of a class's logit with which its recall is ``floor``; 0 if the recall is high enough."""
    own = logits[truth == index]
    margins = np.sort(np.delete(own, index, axis=1).max(axis=1) - own[:, index])
    needed = math.ceil(floor * len(margins) - 1e-9)
    if needed == 0 or (own.argmax(axis=1) == index).sum() >= needed:
        return 0.0
    return float(max(margins[needed - 1], 0.0)) + _MARGIN
