"""Locate FER2013: at a given path, else FER_EDGE_DATA, else in ./data, else in the user's cache folder."""

from __future__ import annotations

import os
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.system.user_folders import cache_folder
from fer_train.data.readers.containers import CSV_NAMES

DATA_VARIABLE = "FER_EDGE_DATA"
CLASS_FOLDER_ROOTS = ("train", "test")

_KAGGLE = "challenges-in-representation-learning-facial-expression-recognition-challenge"
_FILE_NAMES = (
    *(f"{name}{ending}" for name in CSV_NAMES for ending in ("", ".xz", ".gz", ".zip")),
    "fer2013.tar.gz",
    f"{_KAGGLE}.zip",
)
_FOLDERS_WITHIN = (".", "fer2013")


class DatasetNotFoundError(InputError):
    """No path was given, and the default places contain no data set. A damaged one is another error."""


def locate(path: Path | None) -> Path:
    """Return the CSV, archive or folder of class folders to read.

    ``path`` and FER_EDGE_DATA name a file, or a folder that must contain the data set.

    Raises:
        DatasetNotFoundError: if neither is given and no default place holds FER2013. The message says how to get it.
        InputError: if the given path contains none.
    """
    if path is not None:
        return _required(path, str(path))
    named = os.environ.get(DATA_VARIABLE)
    if named:
        return _required(Path(named), f"{DATA_VARIABLE}={named}")
    for folder in (Path("data"), cache_folder()):
        found = _search(folder)
        if found is not None:
            return found
    raise DatasetNotFoundError(f"no FER2013 found in ./data or {cache_folder()}: {_how_to_get_it()}")


def holds_fer2013(folder: Path) -> bool:
    """Return whether ``locate`` finds a data set in ``folder``."""
    return _search(folder) is not None


def holds_fer2013_file(folder: Path) -> bool:
    """Return whether ``locate`` finds a file in ``folder``: a CSV, or an archive of one."""
    found = _search(folder)
    return found is not None and found.is_file()


def _required(path: Path, called: str) -> Path:
    try:
        path.stat()
    except FileNotFoundError:
        raise InputError(f"{called}: no such file or folder; {_how_to_get_it()}") from None
    except OSError as error:
        raise InputError(f"{called}: cannot be read: {error.strerror}") from error
    if not path.is_dir():
        return path
    found = _search(path)
    if found is None:
        raise InputError(f"{called}: no FER2013 in this folder, and no class folders with images; {_how_to_get_it()}")
    return found


def _search(folder: Path) -> Path | None:
    try:
        for within in _FOLDERS_WITHIN:
            for name in _FILE_NAMES:
                if (folder / within / name).is_file():
                    return folder / within / name
            if any((folder / within / root).is_dir() for root in CLASS_FOLDER_ROOTS):
                return folder / within
    except OSError as error:  # no permission to read the folder
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
    return None


def _how_to_get_it() -> str:
    return (
        f"download icml_face_data.csv or fer2013.tar.gz from https://www.kaggle.com/c/{_KAGGLE}/data "
        f"(a free account, accept the rules), put it into ./data, or set {DATA_VARIABLE} to its file or folder"
    )
