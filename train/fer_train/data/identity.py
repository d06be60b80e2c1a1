"""Compare a data set, row by row, with the FER2013 on which this project's numbers were measured.

``fer2013_rows.npy`` contains a 32-bit hash of each of its rows, from which no pixel can be restored. Copies of FER2013
differ in a few rows (some were saved as JPEG), so that a different copy is reported but never refused.
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

    The data set has ``rows``; ``known`` of them are also in the known FER2013, with the same label and in the same
    split; ``missing`` rows of the known FER2013 are not in the data set.
    """

    rows: int
    known: int
    missing: int

    @property
    def is_copy(self) -> bool:
        """Whether most of its rows are known, and most known rows are in it, so that results are comparable."""
        return self._is_from_fer2013 and self.known > self.missing

    @property
    def difference(self) -> str | None:
        """The difference between a copy or part of FER2013 and the known one, in words; None for other data."""
        if not self._is_from_fer2013:
            return None
        if self.known == self.rows and not self.missing:
            return "FER2013 with its rows in another order"
        return (
            f"a {'differing copy' if self.is_copy else 'part'} of FER2013: {self.rows - self.known} of its "
            f"{self.rows} rows are not in the one on which this project's numbers were measured, and {self.missing} of "
            f"that one's {self.known + self.missing} rows are missing"
        )

    @property
    def _is_from_fer2013(self) -> bool:
        # Not "any": the hashes are short, so that a row of other data, or a blank, can be known by chance.
        return 2 * self.known > self.rows


def row_hashes(dataset: Dataset) -> npt.NDArray[np.uint32]:
    """Return a hash of label, split and pixels of each row, uint32 [rows], by split."""
    hashes = [
        hashlib.blake2b(bytes([label]) + name.encode() + b"\0" + image.tobytes(), digest_size=4).digest()
        for name in SPLIT_NAMES
        for label, image in zip(dataset.splits[name].labels, dataset.splits[name].images, strict=True)
    ]
    return np.frombuffer(b"".join(hashes), "<u4").astype(np.uint32)


def overlap_with_fer2013(dataset: Dataset) -> Overlap:
    """Compare ``dataset`` with the known FER2013, row by row; repeated rows count as often as both contain them."""
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
