"""Load data sets as arrays, and select their rows for training and tests.

``load_dataset`` reads FER2013 in any of its forms, and other sets. ``trainable_rows`` selects rows for training,
``leak_free_test`` rows for tests whose images are in no other split.
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.types import UInt8Array
from fer_train.data.readers.fer2013 import read_fer2013
from fer_train.data.readers.image_set import is_image_set
from fer_train.data.samples import Dataset, Split
from fer_train.data.sets import load_sets
from fer_train.recipe.data import DataSettings, SetSettings
from fer_train.recipe.recipe import load_recipe
from fer_train.splits import PRIVATE_TEST, PUBLIC_TEST, SPLIT_NAMES, TRAINING

__all__ = [
    "PRIVATE_TEST",
    "PUBLIC_TEST",
    "SPLIT_NAMES",
    "TRAINING",
    "Dataset",
    "Split",
    "distinct_test",
    "leak_free_test",
    "leak_free_training",
    "load_data",
    "load_dataset",
    "trainable_rows",
]

NEAR_DUPLICATE = 0.98
"""Correlation at 12 x 12 pixels above which two faces are the same photo; 182 images of PrivateTest have one."""


def load_dataset(path: Path | None = None, *, skip_bad_rows: bool = False, cache: bool = True) -> Dataset:
    """Read FER2013 from a CSV, an archive of it or class folders; other class folders; or the data of a recipe.

    The data set's name is "fer2013" for FER2013 and nearly equal copies of it, else a slug of the file's or folder's
    name, which is never "fer2013".

    Args:
        path: A file, a folder, or a recipe (.toml). None: FER_EDGE_DATA, else ./data, else the user's cache folder.
            Other class folders are read as by a recipe with this set and no other settings.
        skip_bad_rows: Leave out malformed rows and images, count them and log a warning.
        cache: Cache the decoded arrays in the user's cache folder, until the source's size or time changes.

    Raises:
        InputError: if the data are missing or malformed.
    """
    if path is not None and path.suffix.lower() == ".toml" and not path.is_dir():
        return load_sets(load_recipe(path).data, skip_bad=skip_bad_rows, cache=cache)
    if path is not None and is_image_set(path):
        return load_sets(DataSettings(sets=(SetSettings(path=str(path)),)), skip_bad=skip_bad_rows, cache=cache)
    return read_fer2013(path, skip_bad_rows=skip_bad_rows, cache=cache)


def load_data(settings: DataSettings, path: Path | None = None, *, skip_bad: bool = False) -> Dataset:
    """Load the data of a recipe's ``[data]``; ``path`` is its FER2013, or other data if it names no set."""
    if settings == DataSettings():
        return load_dataset(path, skip_bad_rows=skip_bad)
    return load_sets(settings, path, skip_bad=skip_bad)


def leak_free_training(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return the indices of Training rows whose pixels are in neither PublicTest nor PrivateTest."""
    tested = {image.tobytes() for split in (PUBLIC_TEST, PRIVATE_TEST) for image in dataset.splits[split].images}
    images = dataset.splits[TRAINING].images
    return np.array([i for i, image in enumerate(images) if image.tobytes() not in tested], dtype=np.int64)


def trainable_rows(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Return ``leak_free_training`` for training. Raises InputError if the data cannot be used for training."""
    for name in (TRAINING, PUBLIC_TEST):
        if not len(dataset.splits[name]):
            needed = " and ".join(dataset.split_names[:2])
            raise InputError(f"{dataset.name}: has no {dataset.shown(name)} images; training needs {needed}")
    kept = leak_free_training(dataset)
    if not len(kept):
        raise InputError(
            f"{dataset.name}: every {dataset.shown(TRAINING)} image is in another split too; nothing to train on"
        )
    labels = np.unique(dataset.splits[TRAINING].labels[kept])
    if len(labels) < 2:
        one = dataset.labels[labels[0]]
        raise InputError(
            f"{dataset.name}: all {dataset.shown(TRAINING)} images are of one class, {one}; training needs two or more"
        )
    return kept


def leak_free_test(dataset: Dataset, split: str) -> npt.NDArray[np.int64]:
    """Return the indices of the images of ``split`` that are in no other split; of equal images, the first."""
    first: dict[bytes, int] = {}
    for row, image in enumerate(dataset.splits[split].images):
        first.setdefault(image.tobytes(), row)
    for other in SPLIT_NAMES:
        if other != split:
            for image in dataset.splits[other].images:
                first.pop(image.tobytes(), None)
    return np.array(list(first.values()), dtype=np.int64)


def distinct_test(dataset: Dataset, split: str) -> npt.NDArray[np.int64]:
    """Return ``leak_free_test`` without near duplicates of Training images: the same photo, cropped or scaled.

    Two images are near duplicates if they correlate by more than ``NEAR_DUPLICATE`` at 12 x 12 pixels.
    """
    rows = leak_free_test(dataset, split)
    trained = dataset.splits[TRAINING].images[leak_free_training(dataset)]
    if split == TRAINING or not len(rows) or not len(trained):
        return rows
    thumbnails = _thumbnails(trained)
    ours = _thumbnails(dataset.splits[split].images[rows])
    highest = [(part @ thumbnails.T).max(axis=1) for part in np.array_split(ours, max(1, len(ours) // 256))]
    return rows[np.concatenate(highest) <= NEAR_DUPLICATE]


def _thumbnails(images: UInt8Array) -> npt.NDArray[np.float32]:
    """Return each image at 12 x 12 pixels, with mean 0 and norm 1, float32 [N, 144]; 0 for a blank one."""
    small = np.stack([cv2.resize(image, (12, 12), interpolation=cv2.INTER_AREA) for image in images])
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat -= flat.mean(axis=1, keepdims=True)
    norms = np.linalg.norm(flat, axis=1, keepdims=True)
    return np.asarray(flat / np.where(norms > 0, norms, 1), np.float32)
