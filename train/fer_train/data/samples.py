"""The result of all readers: splits of grey images with labels."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.model.labels import FER2013_LABELS
from fer_train.splits import OWN_SPLIT_NAMES, SPLIT_NAMES, TRAINING

FER2013_ROWS_SHA256 = "524e9eac5d41a520f3d5b5714ec736ea69b2738bc20749b46bef80421fc68ce2"
"""``Dataset.rows_sha256`` of the FER2013 on which this project's numbers were measured."""


@dataclass(frozen=True, slots=True, eq=False)
class Split:
    """Images and labels of one split, in the order of the file.

    ``images`` is uint8 [N, H, W]; ``labels`` is int64 [N], indices into ``Dataset.labels``. ``weights``, float32 [N],
    are those of the images in training (None: equal); ``shares``, float32 [N, labels], are soft targets (None: only
    the label).
    """

    images: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float32] | None = None
    shares: npt.NDArray[np.float32] | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def distributions(self, label_count: int) -> npt.NDArray[np.float32]:
        """Return the target of each image: ``shares``, or 1 for its label; float32 [N, label_count]."""
        return np.eye(label_count, dtype=np.float32)[self.labels] if self.shares is None else self.shares


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """A decoded data set; ``splits`` always holds all of ``SPLIT_NAMES``, each possibly empty.

    ``rows_sha256`` identifies it: SHA-256 over all rows in file order, each row being its label byte, its split
    name in UTF-8, one zero byte and its pixel bytes. ``name`` is that in results, and the same for nearly equal
    copies of FER2013. ``skipped_rows`` counts malformed rows left out on request; ``notes`` are the reader's remarks to
    the user. ``own_splits``: the splits are shown as ``OWN_SPLIT_NAMES``; the keys of ``splits`` stay the same.
    """

    name: str
    labels: tuple[str, ...]
    splits: dict[str, Split]
    rows_sha256: str
    skipped_rows: int = 0
    notes: tuple[str, ...] = ()
    own_splits: bool = False

    @property
    def split_names(self) -> tuple[str, str, str]:
        """Names of the splits in messages and results, in the order of ``SPLIT_NAMES``."""
        return OWN_SPLIT_NAMES if self.own_splits else SPLIT_NAMES

    def shown(self, split: str) -> str:
        """Return the name of ``split`` in messages and results."""
        return self.split_names[SPLIT_NAMES.index(split)]

    def key(self, split: str) -> str:
        """Return the name of ``split`` in keys of records, such as ``public_test``."""
        return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", self.shown(split)).lower()

    def find_split(self, name: str) -> str:
        """Return the key in ``splits`` of the split with ``name``, by either set of names, in any case.

        Raises:
            InputError: for another name.
        """
        for names in (SPLIT_NAMES, OWN_SPLIT_NAMES):
            for split, known in zip(SPLIT_NAMES, names, strict=True):
                if known.lower() == name.lower():
                    return split
        raise InputError(f"{self.name}: no split {name!r}; its splits are {', '.join(self.split_names)}")

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width in pixels, the same for every image."""
        _, height, width = self.splits[TRAINING].images.shape
        return int(height), int(width)

    @property
    def is_known_fer2013(self) -> bool:
        """Whether these are, byte for byte, the rows on which this project's numbers were measured."""
        return self.rows_sha256 == FER2013_ROWS_SHA256


class RowCollector:
    """Collects rows in file order as decoded pixels (about 83 MB for FER2013)."""

    def __init__(self) -> None:
        self._pixels = {split: bytearray() for split in SPLIT_NAMES}
        self._labels = {split: bytearray() for split in SPLIT_NAMES}
        self._sha256 = hashlib.sha256()

    def __len__(self) -> int:
        return sum(len(labels) for labels in self._labels.values())

    def add(self, split: str, label: int, pixels: bytes) -> None:
        """Append one row; ``pixels`` are H x W bytes, row by row."""
        self._pixels[split] += pixels
        self._labels[split].append(label)
        self._sha256.update(bytes([label]) + split.encode() + b"\0")
        self._sha256.update(pixels)

    def build(
        self,
        name: str,
        size: tuple[int, int],
        *,
        labels: tuple[str, ...] = FER2013_LABELS,
        skipped_rows: int = 0,
        notes: tuple[str, ...] = (),
    ) -> Dataset:
        """Return the data set of all rows added; ``size`` is (height, width). ``load_dataset`` replaces the name."""
        splits = {
            split: Split(
                np.frombuffer(self._pixels[split], np.uint8).reshape(-1, *size),
                np.frombuffer(self._labels[split], np.uint8).astype(np.int64),
            )
            for split in SPLIT_NAMES
        }
        return Dataset(name, labels, splits, self._sha256.hexdigest(), skipped_rows, notes)
