"""FER2013 as arrays: ``load_dataset`` reads any of its forms, ``leak_free_training`` says what to train on,
``leak_free_test`` what to test on when no image may count that stands elsewhere too.
"""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_train.identity import overlap_with_fer2013
from fer_train.readers.cache import DecodedCache
from fer_train.readers.class_folders import fingerprint_folders, read_class_folders
from fer_train.readers.fer2013_csv import read_csv
from fer_train.readers.locate import locate
from fer_train.samples import PRIVATE_TEST, PUBLIC_TEST, SPLIT_NAMES, TRAINING, Dataset, Split

__all__ = [
    "PRIVATE_TEST",
    "PUBLIC_TEST",
    "SPLIT_NAMES",
    "TRAINING",
    "Dataset",
    "Split",
    "leak_free_test",
    "leak_free_training",
    "load_dataset",
]

_LOG = logging.getLogger(__name__)

_FER2013 = "fer2013"
_FILE_ENDINGS = re.compile(r"(\.(csv|xz|gz|zip|tar))+$", re.IGNORECASE)


def load_dataset(path: Path | None = None, *, skip_bad_rows: bool = False, cache: bool = True) -> Dataset:
    """Read FER2013 from a CSV, an archive of it or class folders.

    ``path`` is a file or a folder; None looks in FER_EDGE_DATA, else ./data, else the user's cache folder.
    With ``cache`` the decoded arrays are kept in the user's cache folder, and used again while the source's
    size and time stay the same. Raises InputError for missing or malformed data; ``skip_bad_rows`` leaves
    malformed rows out, counts them and logs a warning. The data set's name is "fer2013" for FER2013 and nearly equal
    copies of it, else a slug of the file's or folder's name, and never "fer2013".
    """
    source = locate(path)
    is_folder = source.is_dir()
    store = DecodedCache(source, fingerprint_folders(source) if is_folder else None) if cache else None
    dataset = store.load() if store else None
    if dataset is None or (dataset.skipped_rows and not skip_bad_rows):
        reader = read_class_folders if is_folder else read_csv
        dataset = reader(source, skip_bad_rows=skip_bad_rows)
        if store:
            store.save(dataset)
    if dataset.skipped_rows:
        _LOG.warning("%s: %d malformed rows were left out", source, dataset.skipped_rows)
    for note in dataset.notes:
        _LOG.warning("%s: %s", source, note)
    return _named(source, dataset)


def leak_free_training(dataset: Dataset) -> npt.NDArray[np.int64]:
    """Indices into Training of the rows to keep: those whose pixels stand in neither PublicTest nor PrivateTest."""
    tested = {image.tobytes() for split in (PUBLIC_TEST, PRIVATE_TEST) for image in dataset.splits[split].images}
    images = dataset.splits[TRAINING].images
    return np.array([i for i, image in enumerate(images) if image.tobytes() not in tested], dtype=np.int64)


def leak_free_test(dataset: Dataset, split: str) -> npt.NDArray[np.int64]:
    """Indices into ``split`` of its images that stand in no other split, each image once: where it stands first."""
    first: dict[bytes, int] = {}
    for row, image in enumerate(dataset.splits[split].images):
        first.setdefault(image.tobytes(), row)
    for other in SPLIT_NAMES:
        if other != split:
            for image in dataset.splits[other].images:
                first.pop(image.tobytes(), None)
    return np.array(list(first.values()), dtype=np.int64)


def _named(source: Path, dataset: Dataset) -> Dataset:
    """``dataset`` under the name its results go by; warns of FER2013 that differs, since its numbers do too."""
    if dataset.is_known_fer2013:
        return dataclasses.replace(dataset, name=_FER2013)
    overlap = overlap_with_fer2013(dataset)
    if overlap.difference:
        _LOG.warning("%s: %s", source, overlap.difference)
    return dataclasses.replace(dataset, name=_FER2013 if overlap.is_copy else _slug(source))


def _slug(source: Path) -> str:
    name = source.absolute().name
    stem = name if source.is_dir() else _FILE_ENDINGS.sub("", name)
    slug = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "dataset"
    # Results under FER2013's name are compared with FER2013's: other data in a file called fer2013.csv is not that.
    return f"other_{slug}" if slug == _FER2013 else slug
