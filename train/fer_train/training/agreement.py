"""Facts that must be equal in all processes of distributed training."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from typing import Any

import numpy as np

from fer_edge.settings.base import to_table
from fer_train.recipe.recipe import Recipe
from fer_train.training.inputs.batches import TrainingSet


def facts_of(recipe: Recipe, trained_on: Sequence[TrainingSet], revision: str) -> dict[str, Any]:
    """Return what determines the weights, by name: recipe, training data, code and versions of libraries."""
    import keras

    digest = hashlib.sha256()
    for training in trained_on:
        for array in (training.images, training.labels, training.targets, training.weights):
            digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    libraries = ("keras", keras.backend.backend(), "numpy", "opencv-python-headless")
    return {
        **{f"recipe's {key}": value for key, value in _flat(to_table(recipe), "")},
        "training images and targets": digest.hexdigest()[:12],
        "code": revision,
        **{f"version of {library}": version(library) for library in libraries},
    }


def _flat(table: dict[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
