"""Read FER2013 from class folders: ``train/<class>/*.png``, or other image formats, and ``test/<class>/…``.

A file name that starts with PublicTest or PrivateTest (``PrivateTest_00012.png``) sets the split, in either folder.
Other images in ``test/`` become PublicTest, so that PrivateTest never contains guesses.
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fer_edge.errors import InputError
from fer_edge.images.files import IMAGE_SUFFIXES, read_gray
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.types import UInt8Array
from fer_train.data.readers.class_names import OTHER_NAMES, label_of
from fer_train.data.readers.locate import CLASS_FOLDER_ROOTS
from fer_train.data.samples import Dataset, RowCollector
from fer_train.progress import progress
from fer_train.splits import PRIVATE_TEST, PUBLIC_TEST, SPLIT_NAMES, TRAINING

_LOG = logging.getLogger(__name__)

_NAMED_SPLIT = re.compile(rf"({'|'.join(SPLIT_NAMES)})(?:_(\d+))?", re.ASCII)
_PROGRESS_EVERY = 64


def named_split(name: str) -> str | None:
    """Return the split with which a file's name starts, as in ``PrivateTest_00012.png``; None if there is none."""
    match = _NAMED_SPLIT.match(name)
    return match[1] if match else None


@dataclass(frozen=True, slots=True)
class _ImageFile:
    path: Path
    root: str
    label: int

    @property
    def named_split(self) -> str | None:
        """The split with which the file name starts."""
        return named_split(self.path.name)

    @property
    def split(self) -> str:
        """The test split in the file name if there is one, else the folder's split."""
        if self.named_split in (PUBLIC_TEST, PRIVATE_TEST):
            return self.named_split
        return TRAINING if self.root == "train" else PUBLIC_TEST

    @property
    def order(self) -> tuple[int, float, str, int]:
        """Sort key: split, then number in the name, so that an exported CSV is read in its order."""
        match = _NAMED_SPLIT.match(self.path.name)
        number = int(match[2]) if match and match[2] else math.inf
        return SPLIT_NAMES.index(self.split), number, self.path.name, self.label


def read_class_folders(root: Path, *, skip_bad_rows: bool = False) -> Dataset:
    """Decode all images below ``root`` to grey.

    With ``skip_bad_rows``, images that cannot be decoded or differ in size are left out and counted in
    ``Dataset.skipped_rows``.

    Raises:
        InputError: if a class is not in FER2013 or has no image, or if an image is bad and not skipped.
    """
    files = sorted(_image_files(root), key=lambda file: file.order)
    rows = RowCollector()
    skipped = 0
    size: tuple[int, int] | None = None
    with progress(f"reading {root.name}", len(files), " images") as show:
        for number, file in enumerate(files):
            try:
                image = _decode(file.path, size)
            except InputError as error:
                if not skip_bad_rows:
                    raise InputError(f"{error} (--skip-bad-rows leaves it out)") from error
                _LOG.info("skipped: %s", error)
                skipped += 1
                continue
            size = (image.shape[0], image.shape[1])
            rows.add(file.split, file.label, image.tobytes())
            if number % _PROGRESS_EVERY == 0:
                show(number)
    if size is None:
        raise InputError(f"{root}: no usable image in its class folders ({skipped} malformed)")
    return rows.build(root.name, size, skipped_rows=skipped, notes=_notes(files))


def names_splits(root: Path) -> bool:
    """Return whether a file name below ``root`` starts with one of FER2013's splits, as in an export of it."""
    return any(file.named_split for file in _image_files(root))


def fingerprint_folders(root: Path) -> str:
    """Return the SHA-256 over path, size and modification time of each image."""
    return fingerprint(root, sorted(file.path for file in _image_files(root)))


def fingerprint(root: Path, files: Iterable[Path]) -> str:
    """Return the SHA-256 over path below ``root``, size and modification time of ``files``, in their order."""
    digest = hashlib.sha256()
    for path in files:
        try:
            status = path.stat()
            stamp = b"%d %d" % (status.st_size, status.st_mtime_ns)
        except OSError:  # such as a broken link; reading it reports the error
            stamp = b"-"
        digest.update(b"%b\0%b\n" % (os.fsencode(path.relative_to(root)), stamp))
    return digest.hexdigest()


def _image_files(root: Path) -> Iterator[_ImageFile]:
    for name in CLASS_FOLDER_ROOTS:
        folders = [folder for folder in visible(root / name) if folder.is_dir()] if (root / name).is_dir() else []
        labels = {folder: label_of(folder.name, FER2013_LABELS) for folder in folders}
        unknown = sorted(folder.name for folder, label in labels.items() if label is None)
        if unknown:
            raise InputError(
                f"{root / name}: folders that are not classes of FER2013: {', '.join(unknown)}; "
                f"allowed: {', '.join(FER2013_LABELS)} (also {', '.join(OTHER_NAMES)}); "
                "map other classes in a recipe's [[data.sets]]"
            )
        for folder, label in labels.items():
            images = [path for path in visible(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
            if not images:
                raise InputError(empty_class(folder))
            for path in images:
                if label is not None:
                    yield _ImageFile(path, name, label)


def empty_class(folder: Path) -> str:
    """Return the message for a class folder without images."""
    return f"{folder}: an empty class folder: no {', '.join(sorted(IMAGE_SUFFIXES))} in it; fill or remove it"


def visible(folder: Path) -> list[Path]:
    """Return the entries of ``folder`` that are not hidden. Raises InputError if it cannot be read."""
    try:
        return [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error


def _notes(files: list[_ImageFile]) -> tuple[str, ...]:
    unsaid = sum(file.root == "test" and file.named_split not in (PUBLIC_TEST, PRIVATE_TEST) for file in files)
    moved = sum(file.root == "train" and file.split != TRAINING for file in files)
    notes = []
    if unsaid:
        own = not any(file.named_split for file in files)
        notes.append(
            f"{unsaid} images of test/ are used for validation; with folders train, validation and test, test is kept"
            " for final numbers"
            if own
            else f"{unsaid} images of test/ do not say PublicTest or PrivateTest in their name: PublicTest"
        )
    if moved:
        notes.append(f"{moved} images of train/ are PublicTest or PrivateTest by their name, and count as such")
    return tuple(notes)


def _decode(path: Path, size: tuple[int, int] | None) -> UInt8Array:
    """Return the grey image uint8 [H, W]. Raises InputError if it has not the ``size``; None: any."""
    image = read_gray(path)
    height, width = image.shape
    if size is not None and (height, width) != size:
        raise InputError(f"{path}: is {width} x {height} pixels, the images before are {size[1]} x {size[0]}")
    return image
