"""Find faults in a data set: duplicates, leaks across splits, conflicting labels, blank images.

Two images are the same if all their pixels are equal. A *group* is all rows, of any split, with the same image.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_train.data.identity import Overlap, overlap_with_fer2013
from fer_train.data.samples import Dataset
from fer_train.splits import PRIVATE_TEST, PUBLIC_TEST, SPLIT_NAMES, TRAINING

BLANK_SPREAD = 8
"""An image whose lightest and darkest pixel differ by less is blank.

FER2013 has 12 images of one grey value, one of 127..130 (a blank that went through JPEG), and no other below 35.
"""


@dataclass(frozen=True, slots=True)
class Finding:
    """A row with a fault; ``row`` counts from 0 within its split, ``group`` numbers the groups of equal images."""

    kind: str
    split: str
    row: int
    label: str
    group: int


@dataclass(frozen=True, slots=True)
class AuditReport:
    """Counts over all splits; ``classes`` has images per split and label, ``largest_to_smallest`` ratios per split.

    ``rows_of_fer2013`` of the rows are also in the known FER2013; ``identity`` describes the data in words.
    """

    name: str
    rows_sha256: str
    is_known_fer2013: bool
    rows_of_fer2013: int
    identity: str
    image_size: tuple[int, int]
    rows: int
    skipped_rows: int
    classes: dict[str, dict[str, int]]
    largest_to_smallest: dict[str, float | None]
    distinct: int
    duplicates: int
    duplicate_groups: int
    cross_split_groups: int
    public_in_training: int
    private_in_training: int
    training_rows_dropped: int
    conflicting_groups: int
    blank: int
    notes: tuple[str, ...]


class Audit:
    """Group all rows of ``dataset`` by their pixels once, for ``report`` and ``findings``."""

    def __init__(self, dataset: Dataset) -> None:
        self._dataset = dataset
        parts = [dataset.splits[name] for name in SPLIT_NAMES]
        images = np.concatenate([part.images for part in parts])
        images = images.reshape(len(images), math.prod(dataset.image_size))
        self._labels = np.concatenate([part.labels for part in parts])
        self._split = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
        self._row = np.concatenate([np.arange(len(part)) for part in parts])
        self._group = group_numbers(images)
        groups = int(self._group.max(initial=-1)) + 1
        self._sizes = np.bincount(self._group, minlength=groups)
        # [groups, splits] and [groups, labels]: whether a group has rows there.
        self._in_split = _presence(self._group, self._split, groups, len(parts))
        self._has_label = _presence(self._group, self._labels, groups, len(dataset.labels))
        self._crosses = self._in_split.sum(axis=1) > 1
        self._conflicts = self._has_label.sum(axis=1) > 1
        self._blank = np.ptp(images, axis=1) < BLANK_SPREAD

    def report(self) -> AuditReport:
        """Return all counts."""
        dataset = self._dataset
        training, public, private = (SPLIT_NAMES.index(name) for name in (TRAINING, PUBLIC_TEST, PRIVATE_TEST))
        in_training = self._in_split[self._group, training]
        tested = self._in_split[self._group, public] | self._in_split[self._group, private]
        classes = _classes(dataset)
        overlap = overlap_with_fer2013(dataset)
        return AuditReport(
            name=dataset.name,
            rows_sha256=dataset.rows_sha256,
            is_known_fer2013=dataset.is_known_fer2013,
            rows_of_fer2013=overlap.known,
            identity=_identity(dataset, overlap),
            image_size=dataset.image_size,
            rows=len(self._group),
            skipped_rows=dataset.skipped_rows,
            classes=classes,
            largest_to_smallest={name: _imbalance(counts) for name, counts in classes.items()},
            distinct=len(self._sizes),
            duplicates=len(self._group) - len(self._sizes),
            duplicate_groups=int((self._sizes > 1).sum()),
            cross_split_groups=int(self._crosses.sum()),
            public_in_training=int((in_training & (self._split == public)).sum()),
            private_in_training=int((in_training & (self._split == private)).sum()),
            training_rows_dropped=int((tested & (self._split == training)).sum()),
            conflicting_groups=int(self._conflicts.sum()),
            blank=int(self._blank.sum()),
            notes=dataset.notes,
        )

    def findings(self) -> Iterator[Finding]:
        """Yield each faulty row, by kind: duplicate (in a group of several), leak, conflict, blank; then by group."""
        kinds = {
            "duplicate": (self._sizes > 1)[self._group],
            "leak": self._crosses[self._group],
            "conflict": self._conflicts[self._group],
            "blank": self._blank,
        }
        for kind, mask in kinds.items():
            rows = np.flatnonzero(mask)
            for at in rows[np.argsort(self._group[rows], kind="stable")]:
                yield Finding(
                    kind,
                    self._dataset.split_names[self._split[at]],
                    int(self._row[at]),
                    self._dataset.labels[self._labels[at]],
                    int(self._group[at]),
                )


def _identity(dataset: Dataset, overlap: Overlap) -> str:
    if dataset.is_known_fer2013:
        return "the FER2013 on which this project's numbers were measured"
    return overlap.difference or (
        f"other data than FER2013, or FER2013 with other pixels (saved as JPEG, say): {overlap.known} of its "
        f"{overlap.rows} rows are in the known one"
    )


def group_numbers(images: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Return a number for each image [N, pixels], the same for equal images, from 0 in order of first appearance."""
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(image.tobytes(), len(numbers)) for image in images], dtype=np.int64)


def _presence(
    groups: npt.NDArray[np.int64], values: npt.NDArray[np.int64], group_count: int, value_count: int
) -> npt.NDArray[np.bool_]:
    present = np.zeros((group_count, value_count), bool)
    present[groups, values] = True
    return present


def _classes(dataset: Dataset) -> dict[str, dict[str, int]]:
    return {
        dataset.shown(name): {
            label: int(count)
            for label, count in zip(
                dataset.labels,
                np.bincount(dataset.splits[name].labels, minlength=len(dataset.labels)),
                strict=True,
            )
        }
        for name in SPLIT_NAMES
    }


def _imbalance(counts: dict[str, int]) -> float | None:
    """Return how many times larger the largest class is than the smallest; None if a class has no image."""
    return round(max(counts.values()) / min(counts.values()), 2) if min(counts.values()) else None
