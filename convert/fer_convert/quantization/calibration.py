"""Choose the Training images that calibrate the ranges of activations: balanced, the same on every machine.

For FER2013, the row numbers are a file of the package, ``calibration_fer2013.json``. For other data sets,
``choose_indices`` chooses by the same rule.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import resources

import msgspec
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.types import UInt8Array
from fer_train.data.dataset import TRAINING, Dataset, leak_free_training

PER_CLASS = 64
SEED = 2013
_FILE = "calibration_fer2013.json"


class CommittedRows(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Contents of ``calibration_fer2013.json``: the chosen rows of Training, and what they were chosen from."""

    rows_sha256: str
    per_class: int
    seed: int
    training_rows: list[int]


def calibration_images(dataset: Dataset) -> UInt8Array:
    """Return the representative data set of ``convert``, uint8 [N, H, W], with the images of ``with_extremes``."""
    committed = committed_rows()
    if dataset.rows_sha256 == committed.rows_sha256:
        indices = np.array(committed.training_rows, dtype=np.int64)
    else:
        indices = choose_indices(dataset)
    return with_extremes(dataset, indices)


def with_extremes(dataset: Dataset, indices: npt.NDArray[np.int64]) -> UInt8Array:
    """Return the Training images ``indices``, then an all-0 and an all-255 image, uint8 [N, H, W].

    The last two make the input's range 0..255, so its scale is 1 and its zero point 0. With images that span 20..230
    alone, the scale would be 0.898.
    """
    chosen = dataset.splits[TRAINING].images[indices]
    extremes = np.zeros((2, *chosen.shape[1:]), dtype=np.uint8)
    extremes[1] = 255
    return np.concatenate([chosen, extremes])


def committed_rows() -> CommittedRows:
    """Read the rows of FER2013 that are a file of the package."""
    return msgspec.json.decode((resources.files("fer_convert.quantization") / _FILE).read_bytes(), type=CommittedRows)


def choose_indices(dataset: Dataset, per_class: int = PER_CLASS, seed: int = SEED) -> npt.NDArray[np.int64]:
    """Choose up to ``per_class`` of the ``usable_rows`` of each label; ascending."""
    return choose_balanced(dataset, usable_rows(dataset), per_class, seed)


def usable_rows(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return the rows of Training that are not blank and in no other split. Raises InputError if there are none."""
    images = dataset.splits[TRAINING].images
    usable = [row for row in leak_free_training(dataset) if images[row].min() != images[row].max()]
    if not usable:
        raise InputError(f"{dataset.name}: no {dataset.shown(TRAINING)} image to calibrate on")
    return np.array(usable, dtype=np.int64)


def choose_balanced(dataset: Dataset, rows: npt.NDArray[np.int64], per_class: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose up to ``per_class`` of the Training rows ``rows`` of each label; ascending."""
    labels = dataset.splits[TRAINING].labels[rows]
    random = np.random.default_rng(seed)
    chosen = [
        random.choice(of_class, min(per_class, len(of_class)), replace=False)
        for of_class in (rows[labels == label] for label in range(len(dataset.labels)))
        if len(of_class)
    ]
    return np.sort(np.concatenate(chosen))


def choose_random(dataset: Dataset, rows: npt.NDArray[np.int64], per_class: int, seed: int) -> npt.NDArray[np.int64]:
    """Choose ``per_class`` times the number of labels of ``rows``, regardless of their labels; ascending."""
    wanted = min(per_class * len(dataset.labels), len(rows))
    return np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))


def choose_by_brightness(
    dataset: Dataset, rows: npt.NDArray[np.int64], per_class: int, seed: int
) -> npt.NDArray[np.int64]:
    """Choose as many as ``choose_random``: one from each of equally large groups of similar brightness; ascending."""
    wanted = min(per_class * len(dataset.labels), len(rows))
    order = np.argsort(dataset.splits[TRAINING].images[rows].mean(axis=(1, 2)), kind="stable")
    random = np.random.default_rng(seed)
    return np.sort([random.choice(rows[group]) for group in np.array_split(order, wanted)])


RULES: dict[str, Callable[[Dataset, npt.NDArray[np.int64], int, int], npt.NDArray[np.int64]]] = {
    "balanced": choose_balanced,
    "random": choose_random,
    "brightness": choose_by_brightness,
}
"""Rules of ``fer-edge bench study``; ``convert`` uses the first."""
