"""Export a data set as class folders of images, which the reader of class folders can read.

``train/<class>/Training_00012.png`` and ``test/<class>/PublicTest_00012.png`` for FER2013,
``validation/<class>/validation_00012.png`` for other data: the number is the row within its split, from 0, so that a
PNG export reads back as the same rows in the same order.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import cv2

from fer_edge.errors import InputError, OutputError
from fer_train.data.samples import Dataset
from fer_train.progress import progress
from fer_train.splits import OWN_SPLIT_NAMES, SPLIT_NAMES, TRAINING

_PROGRESS_EVERY = 64
_IMAGE_NAME = re.compile(rf"({'|'.join((*SPLIT_NAMES, *OWN_SPLIT_NAMES))})_\d{{5,}}\.(png|jpg)")


def export_class_folders(
    dataset: Dataset,
    out: Path,
    *,
    image_format: str = "png",
    splits: Sequence[str] = SPLIT_NAMES,
    force: bool = False,
) -> int:
    """Write ``splits`` of ``dataset`` below ``out`` and return the number of images.

    ``image_format`` is "png" (lossless) or "jpg" (OpenCV's default quality, 95). The folder appears complete or not at
    all. With ``force``, an earlier export in ``out`` is replaced.

    Raises:
        InputError: if ``out`` contains something else, or an earlier export without ``force``.
        OutputError: if it cannot be written or the disk is full.
    """
    out = out.resolve()
    _check_target(out, force=force)
    # In the same file system as the target, so that the last step is a rename.
    building = out.with_name(f".{out.name}.{os.getpid()}.partial")
    try:
        building.mkdir(parents=True)
        count = _write_images(dataset, building, image_format, splits)
        _put_in_place(building, out)
    except OSError as error:
        raise OutputError(f"{out}: cannot be written: {error.strerror or error}; nothing was exported") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return count


def check_export_target(out: Path, *, force: bool) -> None:
    """Check ``out`` as ``export_class_folders`` does, before the data set is read. Raises InputError."""
    _check_target(out.resolve(), force=force)


def _check_target(out: Path, *, force: bool) -> None:
    if not out.exists():
        return
    if not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder")
    if out.is_mount():
        raise InputError(f"{out}: is a mount point, which cannot be replaced; give a folder inside it")
    try:
        found = [path.relative_to(out) for path in sorted(out.rglob("*"))]
        files = {path for path in found if not (out / path).is_dir() or (out / path).is_symlink()}
    except OSError as error:
        raise OutputError(f"{out}: cannot be read: {error.strerror}") from error
    if found and not force:
        raise InputError(f"{out}: is not empty; choose another folder, or replace an earlier export with --force")
    foreign = [path for path in found if not _is_ours(path, is_file=path in files)]
    if foreign:
        raise InputError(f"{out}: holds {foreign[0]}, which is not part of an export; choose another folder")


def _is_ours(path: Path, *, is_file: bool) -> bool:
    """Return whether ``path``, relative to the folder, is part of an export: a split, a class, or a numbered image."""
    if path.parts[0] not in OWN_SPLIT_NAMES or len(path.parts) > 3:
        return False
    if is_file:
        return len(path.parts) == 3 and _IMAGE_NAME.fullmatch(path.name) is not None
    return len(path.parts) < 3


def _write_images(dataset: Dataset, folder: Path, image_format: str, splits: Sequence[str]) -> int:
    total = sum(len(dataset.splits[split]) for split in splits)
    done = 0
    with progress("exporting", total, " images") as show:
        for split in splits:
            name = dataset.shown(split)
            root = folder / (name if dataset.own_splits else "train" if split == TRAINING else "test")
            part = dataset.splits[split]
            for label in set(part.labels.tolist()):  # no empty folders: the reader refuses them
                (root / dataset.labels[label]).mkdir(parents=True, exist_ok=True)
            for row, (image, label_index) in enumerate(zip(part.images, part.labels, strict=True)):
                encoded, data = cv2.imencode(f".{image_format}", image)
                if not encoded:
                    raise OutputError(f"OpenCV cannot encode {image_format}")
                path = root / dataset.labels[label_index] / f"{name}_{row:05d}.{image_format}"
                path.write_bytes(data.tobytes())
                done += 1
                if done % _PROGRESS_EVERY == 0:
                    show(done)
    return done


def _put_in_place(building: Path, out: Path) -> None:
    """Rename ``building`` to ``out``; an earlier folder stays until the new one has its name."""
    aside = out.with_name(f".{out.name}.{os.getpid()}.old")
    replaced = out.exists()
    try:
        if replaced:
            out.rename(aside)
        building.rename(out)
    except BaseException:
        if aside.exists() and not out.exists():
            aside.rename(out)
        raise
    shutil.rmtree(aside, ignore_errors=True)
