"""Show a recipe's augmentation: each kind alone, and batches as the network sees them."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import zip_longest
from typing import Any

import numpy as np
from msgspec import structs

from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.samples import Dataset
from fer_train.exploring.grids import Cell, Row, draw_grid
from fer_train.exploring.pictures import Picture, to_gray_pixels
from fer_train.recipe.augmentation import AugmentSettings
from fer_train.recipe.recipe import Recipe
from fer_train.splits import TRAINING
from fer_train.training.inputs.augmentation import degrade_batch, training_batch

KINDS: dict[str, tuple[str, ...]] = {
    "flip": ("flip",),
    "affine": ("rotate_degrees", "scale", "shift"),
    "brightness": ("brightness",),
    "contrast": ("contrast",),
    "blur": ("blur",),
    "noise": ("noise",),
    "erasing": ("erase_probability",),
    "mixup": ("mixup_alpha",),
    "cutmix": ("cutmix_alpha",),
}
"""Each kind of augmentation, and the settings that turn it on."""

_SURE = {"flip", "erase_probability"}
"""Probabilities, which are shown as 1: an unchanged image would show nothing."""
_BLENDING = {"mixup", "cutmix"}
"""Kinds that also change the targets."""
_COLUMNS = 11
_BATCH = 7, _COLUMNS


def draw_augmentation(recipe: Recipe, dataset: Dataset) -> Iterator[Picture]:
    """Yield pictures of the augmentation of ``recipe`` on the Training images of ``dataset``."""
    kinds = [kind for kind in KINDS if any(getattr(recipe.augment, field) for field in KINDS[kind])]
    values = {field: getattr(recipe.augment, field) for kind in kinds for field in KINDS[kind]}
    if kinds:
        yield Picture(
            "augment-kinds",
            "Augmentation: each kind alone",
            f"By the recipe “{recipe.name}”: {', '.join(f'{field} {value:g}' for field, value in values.items())}. "
            "Where images are blended, their targets are blended too.",
            _kinds(recipe, dataset, kinds),
        )
    yield Picture(
        "augment-batch",
        "Augmentation: input of the network",
        f"Training images as augmented by the recipe “{recipe.name}”, with the target of each.",
        _batch(recipe, dataset),
    )


def only(settings: AugmentSettings, kind: str) -> AugmentSettings:
    """Return ``settings`` with only ``kind``, at probability 1."""
    every = [field for fields in KINDS.values() for field in fields]
    off = structs.replace(settings, **dict.fromkeys(every, 0.0), degrade_probability=1.0)
    on = {field: 1.0 if field in _SURE else getattr(settings, field) for field in KINDS[kind]}
    return structs.replace(off, **on)


def _kinds(recipe: Recipe, dataset: Dataset, kinds: list[str]) -> Any:
    training = dataset.splits[TRAINING]
    random = np.random.default_rng(recipe.loop.seed)
    # Alternate between classes, so that images of several classes are blended.
    classes = [random.permutation(np.flatnonzero(training.labels == n)) for n in range(len(dataset.labels))]
    indices = [row for turn in zip_longest(*classes) for row in turn if row is not None][:_COLUMNS]
    images, targets = training.images[indices], training.distributions(len(dataset.labels))[indices]
    rows = [Row([_cell(image, target, dataset) for image, target in zip(images, targets, strict=True)], "unchanged")]
    for kind in kinds:
        cells = []
        for at in range(len(indices)):
            # A batch for each column: mixup and cutmix draw once for a whole batch.
            settings = only(recipe.augment, kind)
            changed, blended = training_batch(images, targets, recipe.loop.sizes[-1], settings, random)
            changed = degrade_batch(changed, settings, random)
            shown = blended[at] if kind in _BLENDING else None
            cells.append(_cell(to_gray_pixels(changed[at, ..., 0]), shown, dataset))
        rows.append(Row(cells, kind))
    return draw_grid(rows)


def _batch(recipe: Recipe, dataset: Dataset) -> Any:
    rows, columns = _BATCH
    training = dataset.splits[TRAINING]
    random = np.random.default_rng([recipe.loop.seed, 0])
    chosen = random.choice(len(training), min(rows * columns, len(training)), replace=False)
    targets = training.distributions(len(dataset.labels))[chosen]
    images, shown = training_batch(training.images[chosen], targets, recipe.loop.sizes[-1], recipe.augment, random)
    images = degrade_batch(images, recipe.augment, random)
    cells = [_cell(to_gray_pixels(image[..., 0]), target, dataset) for image, target in zip(images, shown, strict=True)]
    return draw_grid([Row(cells[at : at + columns]) for at in range(0, len(cells), columns)])


def _cell(image: UInt8Array, target: Float32Array | None, dataset: Dataset) -> Cell:
    return Cell(image, "" if target is None else _caption(target, dataset.labels))


def _caption(target: Float32Array, labels: tuple[str, ...]) -> str:
    """Return the label with the largest share of ``target`` [labels], or the two largest with their shares."""
    best = np.argsort(-target, kind="stable")[:2]
    if target[best[0]] > 0.995:
        return labels[int(best[0])]
    return "\n".join(f"{labels[index]} {target[index]:.2f}" for index in best if target[index] >= 0.005)
