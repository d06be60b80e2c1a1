"""How much of a data set is the FER2013 that this project's numbers were measured on, row by row.

``fer2013_rows.npy`` holds a 32-bit hash of each of its rows; no pixel can be had back from it. Copies of
FER2013 differ in a few rows (some went through JPEG), so a differing copy is told and never refused.
"""

from __future__ import annotations

import hashlib
from importlib.resources import as_file, files

import numpy as np
import numpy.typing as npt

from fer_train.samples import SPLIT_NAMES, Dataset

REFERENCE_NAME = "fer2013_rows.npy"


def row_hashes(dataset: Dataset) -> npt.NDArray[np.uint32]:
    """A hash of label, split and pixels of each row, uint32 [rows], by split; the order of rows plays no part."""
    hashes = [
        hashlib.blake2b(bytes([label]) + name.encode() + b"\0" + image.tobytes(), digest_size=4).digest()
        for name in SPLIT_NAMES
        for label, image in zip(dataset.splits[name].labels, dataset.splits[name].images, strict=True)
    ]
    return np.frombuffer(b"".join(hashes), "<u4").astype(np.uint32)


def rows_of_fer2013(dataset: Dataset) -> int:
    """How many rows of ``dataset`` the known FER2013 holds too, with the same label and in the same split."""
    mine = _counted(row_hashes(dataset))
    known = _counted(_reference())
    return sum(min(count, known.get(value, 0)) for value, count in mine.items())


def _reference() -> npt.NDArray[np.uint32]:
    with as_file(files("fer_train") / REFERENCE_NAME) as path:
        return np.asarray(np.load(path, allow_pickle=False), np.uint32)


def _counted(hashes: npt.NDArray[np.uint32]) -> dict[int, int]:
    values, counts = np.unique(hashes, return_counts=True)
    return dict(zip(values.tolist(), counts.tolist(), strict=True))
