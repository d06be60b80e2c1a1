"""Which Training images calibrate the activations' ranges: fixed, class-balanced, the same on every machine.

The indices for FER2013 are a file in the package, ``calibration_fer2013.json``. For any other data set the
same rule (``choose_indices``) is applied to its own Training rows.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.types import UInt8Array
from fer_train.dataset import TRAINING, Dataset, leak_free_training

PER_CLASS = 64
SEED = 2013
_FILE = "calibration_fer2013.json"


def calibration_images(dataset: Dataset) -> UInt8Array:
    """The representative data set that ``convert`` uses, uint8 [N, H, W]: see ``with_extremes``."""
    committed = committed_indices()
    if dataset.rows_sha256 == committed["rows_sha256"]:
        indices = np.array(committed["training_rows"], dtype=np.int64)
    else:
        indices = choose_indices(dataset)
    return with_extremes(dataset, indices)


def with_extremes(dataset: Dataset, indices: npt.NDArray[np.int64]) -> UInt8Array:
    """The Training images ``indices``, uint8 [N, H, W], then an all-0 and an all-255 one.

    The last two pin the input's range to 0..255, and so its scale to 1 and its zero point to 0; calibrated on
    images that span 20..230 it would be 0.898.
    """
    chosen = dataset.splits[TRAINING].images[indices]
    extremes = np.zeros((2, *chosen.shape[1:]), dtype=np.uint8)
    extremes[1] = 255
    return np.concatenate([chosen, extremes])


def committed_indices() -> dict[str, Any]:
    """The package's own choice for FER2013: ``rows_sha256``, ``per_class``, ``seed`` and ``training_rows``."""
    text = (resources.files("fer_convert.quantization") / _FILE).read_text(encoding="utf-8")
    table: dict[str, Any] = json.loads(text)
    return table


def choose_indices(dataset: Dataset, per_class: int = PER_CLASS, seed: int = SEED) -> npt.NDArray[np.int64]:
    """Rows of Training, ascending: up to ``per_class`` of each label, drawn from ``usable_rows``."""
    return choose_balanced(dataset, usable_rows(dataset), per_class, seed)


def usable_rows(dataset: Dataset) -> npt.NDArray[np.int64]:
    """The leak-free, non-blank rows of Training. Raises InputError when there is none."""
    images = dataset.splits[TRAINING].images
    usable = [row for row in leak_free_training(dataset) if images[row].min() != images[row].max()]
    if not usable:
        raise InputError(f"{dataset.name}: no {dataset.shown(TRAINING)} image to calibrate on")
    return np.array(usable, dtype=np.int64)


def choose_balanced(dataset: Dataset, rows: npt.NDArray[np.int64], per_class: int, seed: int) -> npt.NDArray[np.int64]:
    """Up to ``per_class`` of each label among the Training rows ``rows``, ascending."""
    labels = dataset.splits[TRAINING].labels[rows]
    random = np.random.default_rng(seed)
    chosen = [
        random.choice(of_class, min(per_class, len(of_class)), replace=False)
        for of_class in (rows[labels == label] for label in range(len(dataset.labels)))
        if len(of_class)
    ]
    return np.sort(np.concatenate(chosen))


def choose_random(dataset: Dataset, rows: npt.NDArray[np.int64], per_class: int, seed: int) -> npt.NDArray[np.int64]:
    """As many of ``rows`` as ``choose_balanced`` takes where no class is short, whatever their labels; ascending."""
    wanted = min(per_class * len(dataset.labels), len(rows))
    return np.sort(np.random.default_rng(seed).choice(rows, wanted, replace=False))


def choose_by_brightness(
    dataset: Dataset, rows: npt.NDArray[np.int64], per_class: int, seed: int
) -> npt.NDArray[np.int64]:
    """As many as ``choose_random``, one from each of equally large groups of equal mean brightness; ascending."""
    wanted = min(per_class * len(dataset.labels), len(rows))
    order = np.argsort(dataset.splits[TRAINING].images[rows].mean(axis=(1, 2)), kind="stable")
    random = np.random.default_rng(seed)
    return np.sort([random.choice(rows[group]) for group in np.array_split(order, wanted)])


RULES: dict[str, Callable[[Dataset, npt.NDArray[np.int64], int, int], npt.NDArray[np.int64]]] = {
    "balanced": choose_balanced,
    "random": choose_random,
    "brightness": choose_by_brightness,
}
"""The rules by which ``fer-edge bench study`` chooses; ``convert`` uses the first."""
