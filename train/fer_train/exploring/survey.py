"""Measure a data set: a table of its images, and groups of images that are too similar."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_edge.types import UInt8Array
from fer_train.data.audit import BLANK_SPREAD, Audit, AuditReport, group_numbers
from fer_train.data.samples import Dataset
from fer_train.exploring.extras import require
from fer_train.exploring.near_duplicates import find_near_duplicates, perceptual_hashes
from fer_train.splits import SPLIT_NAMES

_CHUNK = 4096
"""Images per step of the statistics: NumPy converts them to floats."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """A data set and the findings in it.

    ``images`` is uint8 [N, H, W], all splits one after the other; ``table`` a pandas DataFrame with a row for each:
    split, row (within it), label, brightness and contrast (mean and standard deviation of the pixels, 0..255).
    ``near`` and ``conflicts`` are groups of indices into both: different images that look the same, and equal images
    with different labels.
    """

    dataset: Dataset
    report: AuditReport
    images: UInt8Array
    table: Any
    near: tuple[tuple[int, ...], ...]
    conflicts: tuple[tuple[int, ...], ...]

    def spread(self, groups: tuple[tuple[int, ...], ...]) -> int:
        """Return how many of ``groups`` have images in several splits."""
        splits = self.table["split"].to_numpy()
        return sum(len(set(splits[list(group)])) > 1 for group in groups)

    def disputed(self, groups: tuple[tuple[int, ...], ...]) -> int:
        """Return how many of ``groups`` have images with different labels."""
        labels = self.table["label"].to_numpy()
        return sum(len(set(labels[list(group)])) > 1 for group in groups)


def survey(dataset: Dataset) -> Survey:
    """Measure ``dataset``. Raises MissingExtraError without pandas or imagehash."""
    pandas = require("pandas")
    require("imagehash")  # reported now, not after the other steps
    report = Audit(dataset).report()
    parts = [dataset.splits[name] for name in SPLIT_NAMES]
    images = np.concatenate([part.images for part in parts])
    labels = np.concatenate([part.labels for part in parts])
    brightness, contrast = _statistics(images)
    table = pandas.DataFrame(
        {
            "split": pandas.Categorical(
                np.repeat(dataset.split_names, [len(part) for part in parts]), categories=list(dataset.split_names)
            ),
            "row": np.concatenate([np.arange(len(part)) for part in parts]),
            "label": pandas.Categorical.from_codes(labels, categories=list(dataset.labels)),
            "brightness": brightness,
            "contrast": contrast,
        }
    )
    group = group_numbers(images.reshape(len(images), -1))
    return Survey(dataset, report, images, table, _near(images, group), _conflicts(group, labels))


def _statistics(images: UInt8Array) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    chunks = [images[at : at + _CHUNK].reshape(-1, images[0].size) for at in range(0, len(images), _CHUNK)]
    return (
        np.concatenate([chunk.mean(axis=1) for chunk in chunks]),
        np.concatenate([chunk.std(axis=1) for chunk in chunks]),
    )


def _near(images: UInt8Array, group: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    """Return groups of different images that look the same, with the first of equal images, and without blanks."""
    _, first = np.unique(group, return_index=True)
    first = np.sort(first)
    shown = first[[np.ptp(images[index]) >= BLANK_SPREAD for index in first]]
    found = find_near_duplicates(perceptual_hashes(images[shown]))
    return tuple(tuple(shown[list(members)].tolist()) for members in found)


def _conflicts(group: npt.NDArray[np.int64], labels: npt.NDArray[np.int64]) -> tuple[tuple[int, ...], ...]:
    return tuple(members for members in _groups(group) if len(set(labels[list(members)].tolist())) > 1)


def _groups(group: npt.NDArray[np.int64]) -> Iterator[tuple[int, ...]]:
    order = np.argsort(group, kind="stable")
    for members in np.split(order, np.flatnonzero(np.diff(group[order])) + 1):
        if len(members) > 1:
            yield tuple(members.tolist())
