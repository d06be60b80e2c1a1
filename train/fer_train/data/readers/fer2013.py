"""FER2013 in any of its forms, as it is; decoded once, then kept."""

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

    The data set's name is "fer2013" for FER2013 and nearly equal copies of it, else ``slug`` of its file's or folder's.
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
    """``dataset`` under the name its results go by; warns of FER2013 that differs, since its numbers do too."""
    if dataset.is_known_fer2013:
        return dataclasses.replace(dataset, name=_FER2013)
    overlap = overlap_with_fer2013(dataset)
    if overlap.difference:
        _LOG.warning("%s: %s", source, overlap.difference)
    if overlap.is_copy:
        return dataclasses.replace(dataset, name=_FER2013)
    # A CSV names the splits itself, by FER2013's names, and so do the files of an export.
    return dataclasses.replace(dataset, name=slug(source), own_splits=source.is_dir() and not names_splits(source))


def slug(source: Path) -> str:
    """A name for the results on other data than FER2013: small letters, digits and _; never "fer2013"."""
    name = source.absolute().name
    stem = name if source.is_dir() else _FILE_ENDINGS.sub("", name)
    slug = re.sub(r"[^a-z0-9]+", "_", stem.lower()).strip("_") or "dataset"
    # Results under FER2013's name are compared with FER2013's: other data in a file called fer2013.csv is not that.
    return f"other_{slug}" if slug == _FER2013 else slug
