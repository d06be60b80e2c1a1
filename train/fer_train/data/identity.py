"""How much of a data set is the FER2013 that this project's numbers were measured on, row by row.

``fer2013_rows.npy`` holds a 32-bit hash of each of its rows; no pixel can be had back from it. Copies of
FER2013 differ in a few rows (some went through JPEG), so a differing copy is told and never refused.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt

from fer_train.data.samples import Dataset
from fer_train.splits import SPLIT_NAMES

REFERENCE_NAME = "fer2013_rows.npy"


@dataclass(frozen=True, slots=True)
class Overlap:
    """What a data set has in common with the known FER2013; all counts are of rows.

    ``rows`` are the data set's own; ``known`` of them stand in the known FER2013 too, with the same label and in
    the same split; ``missing`` rows of the known FER2013 the data set lacks.
    """

    rows: int
    known: int
    missing: int

    @property
    def is_copy(self) -> bool:
        """Whether most of its rows are known, and most of the known rows are there: what is measured compares."""
        return self._is_from_fer2013 and self.known > self.missing

    @property
    def difference(self) -> str | None:
        """How a copy or a part of FER2013 differs from the known one, in words; None for other data."""
        if not self._is_from_fer2013:
            return None
        if self.known == self.rows and not self.missing:
            return "FER2013 with its rows in another order"
        return (
            f"a {'differing copy' if self.is_copy else 'part'} of FER2013: {self.rows - self.known} of its "
            f"{self.rows} rows are not in the one this project's numbers were measured on, and {self.missing} of that "
            f"one's {self.known + self.missing} rows are missing"
        )

    @property
    def _is_from_fer2013(self) -> bool:
        # Not "any": the hashes are short, so that a row of other data may be known by chance, and so may a blank.
        return 2 * self.known > self.rows


def row_hashes(dataset: Dataset) -> npt.NDArray[np.uint32]:
    """A hash of label, split and pixels of each row, uint32 [rows], by split; the order of rows plays no part."""
    hashes = [
        hashlib.blake2b(bytes([label]) + name.encode() + b"\0" + image.tobytes(), digest_size=4).digest()
        for name in SPLIT_NAMES
        for label, image in zip(dataset.splits[name].labels, dataset.splits[name].images, strict=True)
    ]
    return np.frombuffer(b"".join(hashes), "<u4").astype(np.uint32)


def overlap_with_fer2013(dataset: Dataset) -> Overlap:
    """Compare ``dataset`` with the known FER2013, row by row; repeated rows count as often as both hold them."""
    hashes, reference = row_hashes(dataset), _reference()
    mine, theirs = _counted(hashes), _counted(reference)
    known = sum(min(count, theirs.get(value, 0)) for value, count in mine.items())
    return Overlap(rows=len(hashes), known=known, missing=len(reference) - known)


def _reference() -> npt.NDArray[np.uint32]:
    with as_file(files("fer_train.data") / REFERENCE_NAME) as path:
        return np.asarray(np.load(path, allow_pickle=False), np.uint32)


def _counted(hashes: npt.NDArray[np.uint32]) -> dict[int, int]:
    values, counts = np.unique(hashes, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
