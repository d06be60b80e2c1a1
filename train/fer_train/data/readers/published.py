"""RAF-DB and AffectNet in their published layouts: the class and split of each image.

RAF-DB (Li et al., 2017), or its folder ``basic``:
    EmoLabel/list_patition_label.txt      "train_00001.jpg 5"; this is its spelling
    Image/aligned/train_00001_aligned.jpg, else Image/original/train_00001.jpg
    train/1…7 and test/1…7                as common copies have it
AffectNet (Mollahosseini et al., 2017):
    train_set and val_set, each images/123.jpg and annotations/123_exp.npy
    training.csv, validation.csv          subDirectory_filePath and expression, images below Manually_Annotated_Images
    train/0…7, val/0…7
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fer_edge.errors import InputError
from fer_edge.images.files import IMAGE_SUFFIXES
from fer_train.splits import PRIVATE_TEST, PUBLIC_TEST, TRAINING

_RAF_DB = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
"""From 1 on."""
_AFFECTNET = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger", "contempt")
"""From 0 on. 8 to 10 are "none", "uncertain" and "no face", and are left out."""
_AFFECTNET_NO_CLASS = range(8, 11)
_LISTS = ("EmoLabel/list_patition_label.txt", "EmoLabel/list_partition_label.txt", "list_patition_label.txt")
_IMAGES = ("Manually_Annotated_Images", "Manually_Annotated_compressed", "Manually_Annotated", ".")
_PARTS = {
    "train": TRAINING,
    "training": TRAINING,
    "train_set": TRAINING,
    "val": PUBLIC_TEST,
    "valid": PUBLIC_TEST,
    "validation": PUBLIC_TEST,
    "val_set": PUBLIC_TEST,
    "test": PRIVATE_TEST,
    "test_set": PRIVATE_TEST,
}


@dataclass(frozen=True, slots=True)
class PublishedImage:
    """One image. ``split`` None: the hash of its pixels decides between training and validation."""

    path: Path
    class_name: str
    split: str | None


def list_raf_db(root: Path) -> list[PublishedImage]:
    """Return the images of RAF-DB's basic emotions, by split and name.

    It has no validation split, so that part of its training images becomes one; its test split stays for final numbers.

    Raises:
        InputError: If ``root`` is not laid out like it, or names an image that is missing.
    """
    for base in (root, root / "basic"):
        for name in _LISTS:
            if (base / name).is_file():
                return list(_from_list(base, base / name))
    found = list(_from_folders(root, _raf_db_class))
    if not found:
        raise InputError(
            f"{root}: is not laid out as RAF-DB: it has neither {_LISTS[0]} nor train/1 to train/7; give the folder "
            "that contains basic"
        )
    return [each if each.split != TRAINING else PublishedImage(each.path, each.class_name, None) for each in found]


def list_affectnet(root: Path) -> list[PublishedImage]:
    """Return the images of AffectNet that have one of its eight classes, by split and name.

    Raises:
        InputError: If ``root`` is not laid out like it, or names an image that is missing.
    """
    for found in (_from_annotations(root), _from_tables(root), _from_folders(root, _affectnet_class)):
        images = list(found)
        if images:
            return images
    raise InputError(
        f"{root}: is not laid out as AffectNet: it has neither train_set/annotations, nor training.csv, nor train/0 to "
        "train/7"
    )


LAYOUTS: dict[str, Callable[[Path], list[PublishedImage]]] = {"raf-db": list_raf_db, "affectnet": list_affectnet}


def _from_list(base: Path, listed: Path) -> Iterator[PublishedImage]:
    """Yield the images in RAF-DB's list of names and classes."""
    for number, line in enumerate(_lines(listed), 1):
        where = f"{listed}:{number}"
        words = line.split()
        if not words:
            continue
        part = next((part for part in ("train", "test") if words[0].startswith(f"{part}_")), None)
        if len(words) != 2 or part is None:
            raise InputError(f"{where}: wanted a name and a class, such as train_00001.jpg 5, not {line.strip()!r}")
        name = Path(words[0])
        candidates = (
            base / "Image" / "aligned" / f"{name.stem}_aligned{name.suffix}",
            base / "Image" / "original" / name.name,
        )
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            raise InputError(f"{where}: {candidates[0]} is missing; unpack RAF-DB's Image/aligned.zip there")
        yield PublishedImage(path, _raf_db_class(words[1], where), PRIVATE_TEST if part == "test" else None)


def _from_annotations(root: Path) -> Iterator[PublishedImage]:
    """Yield the images in AffectNet's folders, with the class of each in a NumPy file."""
    for part in _parts(root):
        for note in sorted((part / "annotations").glob("*_exp.npy")):
            try:
                name = str(np.load(note, allow_pickle=False))
            except (OSError, ValueError, EOFError) as error:
                raise InputError(f"{note}: not a class in NumPy's format: {error}") from None
            class_name = _affectnet_class(name, str(note))
            if class_name is None:
                continue
            stem = part / "images" / note.name.removesuffix("_exp.npy")
            path = next((path for each in sorted(IMAGE_SUFFIXES) if (path := stem.with_suffix(each)).is_file()), None)
            if path is None:
                raise InputError(f"{note}: its image {stem}.jpg is missing")
            yield PublishedImage(path, class_name, _PARTS[part.name])


def _from_tables(root: Path) -> Iterator[PublishedImage]:
    """Yield the images in AffectNet's CSV files."""
    for name, split in (("training", TRAINING), ("validation", PUBLIC_TEST)):
        for table in (root / f"{name}.csv", root / "Manually_Annotated_file_lists" / f"{name}.csv"):
            if table.is_file():
                yield from _from_table(root, table, split)
                break


def _from_table(root: Path, table: Path, split: str) -> Iterator[PublishedImage]:
    reader = csv.DictReader(_lines(table))
    missing = {"subDirectory_filePath", "expression"} - set(reader.fieldnames or ())
    if missing:
        raise InputError(f"{table}: has no column {', '.join(sorted(missing))}")
    for row in reader:
        where = f"{table}:{reader.line_num}"
        class_name = _affectnet_class(row["expression"] or "", where)
        if class_name is None:
            continue
        name = Path(row["subDirectory_filePath"] or "")
        if name.is_absolute() or ".." in name.parts:
            raise InputError(f"{where}: {name} is not a path below the folder of images")
        path = next((root / each / name for each in _IMAGES if (root / each / name).is_file()), None)
        if path is None:
            raise InputError(f"{where}: its image {root / _IMAGES[0] / name} is missing")
        yield PublishedImage(path, class_name, split)


def _from_folders(root: Path, class_of: Callable[[str, str], str | None]) -> Iterator[PublishedImage]:
    """Yield the images in folders of splits with a numbered folder for each class."""
    for part in _parts(root):
        for folder in sorted(each for each in part.iterdir() if each.is_dir() and each.name.isdecimal()):
            class_name = class_of(folder.name, str(folder))
            if class_name is None:
                continue
            for path in sorted(folder.iterdir()):
                if path.suffix.lower() in IMAGE_SUFFIXES and not path.name.startswith("."):
                    yield PublishedImage(path, class_name, _PARTS[part.name])


def _parts(root: Path) -> list[Path]:
    """Return the folders of splits, in the order of ``_PARTS``."""
    return [root / name for name in _PARTS if (root / name).is_dir()]


def _raf_db_class(text: str, where: str) -> str:
    if not (text.isdecimal() and 1 <= int(text) <= len(_RAF_DB)):
        raise InputError(f"{where}: {text!r} is not a class of RAF-DB, which are 1 to {len(_RAF_DB)}")
    return _RAF_DB[int(text) - 1]


def _affectnet_class(text: str, where: str) -> str | None:
    if text.isdecimal() and int(text) < len(_AFFECTNET):
        return _AFFECTNET[int(text)]
    if text.isdecimal() and int(text) in _AFFECTNET_NO_CLASS:
        return None
    raise InputError(f"{where}: {text!r} is not a class of AffectNet, which are 0 to {_AFFECTNET_NO_CLASS[-1]}")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot read it: {error}") from None
