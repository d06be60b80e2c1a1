"""Read FER2013 in any of its forms, unchanged; decoded once, then cached."""

from __future__ import annotations

import dataclasses
import logging
import re
from pathlib import Path

from fer_train.data.identity import overlap_with_fer2013
from fer_train.data.readers.cache import DecodedCache
from fer_train.data.readers.class_folders import fingerprint_folders, names_splits, read_class_folders
from fer_train.data.readers.fer2013_csv import read_csv
from fer_train.data.readers.locate import locate
from fer_train.data.samples import Dataset

_LOG = logging.getLogger(__name__)

_FER2013 = "fer2013"
_FILE_ENDINGS = re.compile(r"(\.(csv|xz|gz|zip|tar))+$", re.IGNORECASE)


def read_fer2013(path: Path | None, *, skip_bad_rows: bool, cache: bool) -> Dataset:
    """Read FER2013 from a CSV, an archive of it or class folders; see ``fer_train.data.dataset.load_dataset``.

    The data set's name is "fer2013" for FER2013 and nearly equal copies of it, else ``slug`` of the file or folder.
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


def _named(source: Path, dataset: Dataset) -> Dataset:
    """Return ``dataset`` with the name for results; log a warning for a different copy of FER2013."""
    if dataset.is_known_fer2013:
        return dataclasses.replace(dataset, name=_FER2013)
    overlap = overlap_with_fer2013(dataset)
    if overlap.difference:
        _LOG.warning("%s: %s", source, overlap.difference)
    if overlap.is_copy:
        return dataclasses.replace(dataset, name=_FER2013)
    # A CSV contains FER2013's names of the splits, and so do the file names of an export.
    return dataclasses.replace(dataset, name=slug(source), own_splits=source.is_dir() and not names_splits(source))


def slug(source: Path) -> str:
    """Return a name for results on other data than FER2013: lower-case letters, digits and _; never "fer2013"."""
    name = source.absolute().name
    stem = name if source.is_dir() else _FILE_ENDINGS.sub("", name)
    slug = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "dataset"
    # Results named fer2013 are compared with FER2013's; a file fer2013.csv with other data must not be.
    return f"other_{slug}" if slug == _FER2013 else slug
