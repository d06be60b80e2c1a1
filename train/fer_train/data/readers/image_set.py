"""Read any folder of class folders: images of any size, format and colour, with or without a given split.

<root>/<class>/…                      split by the images' pixels
<root>/train|val|test/<class>/…       split as given; with no val, test is the validation split
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from msgspec import structs

from fer_edge.errors import InputError
from fer_edge.images.files import IMAGE_SUFFIXES, read_gray
from fer_edge.images.resample import resample
from fer_edge.stages.crop import crop_face
from fer_edge.types import CropSpec, UInt8Array
from fer_train.data.readers.class_folders import empty_class, fingerprint, named_split, visible
from fer_train.data.readers.class_names import label_of, match_classes
from fer_train.data.readers.locate import holds_fer2013, holds_fer2013_file
from fer_train.data.readers.published import LAYOUTS
from fer_train.data.samples import Dataset, RowCollector
from fer_train.progress import progress
from fer_train.recipe.data import SKIP, SetSettings
from fer_train.splits import PRIVATE_TEST, PUBLIC_TEST, SPLIT_NAMES, TRAINING

_LOG = logging.getLogger(__name__)

_TRAIN, _VALIDATION, _TEST = ("train", "training"), ("val", "valid", "validation"), ("test", "testing")
_CONTEMPT = "contempt"
_NAMED_BAD = 5
"""Maximum number of skipped files that a warning names; the log has all of them at level info."""
_PROGRESS_EVERY = 16


@dataclass(frozen=True, slots=True)
class _ImageFile:
    path: Path
    label: int
    split: str | None
    """None: by its pixels."""


@dataclass(frozen=True, slots=True)
class ImageSetReader:
    """Reads one set: ``settings`` of the recipe, and ``labels`` and ``size`` (side in pixels) of the whole data set."""

    root: Path
    settings: SetSettings
    labels: tuple[str, ...]
    size: int

    def fingerprint(self) -> str:
        """Return the SHA-256 over path, size and modification time of each image."""
        files = self._files()
        state = fingerprint(self.root, (file.path for file in files))
        if self.settings.layout == "folders":
            return state
        # Classes and splits are in other files.
        return state + hashlib.sha256(repr([(file.label, file.split) for file in files]).encode()).hexdigest()

    def variant(self) -> str:
        """Return all settings that affect the decoded images; the set's weight does not."""
        return json.dumps([{**structs.asdict(self.settings), "weight": 1}, self.labels, self.size])

    def read(self, *, skip_bad: bool = False) -> Dataset:
        """Decode all images, by split and path.

        With ``skip_bad``, here or in the settings, images that cannot be read, or lack a required face, are left out
        and counted in ``Dataset.skipped_rows``.

        Raises:
            InputError: if a class is not a label or has no image, or if an image is bad and not skipped.
        """
        files = self._files()
        cut = _face_cutter(self.settings, self.size)
        drawn = self._split_settings()
        rows: list[tuple[int, int, bytes]] = []
        bad: list[Path] = []
        faceless = 0
        with progress(f"reading {self.root.name}", len(files), " images") as show:
            for number, file in enumerate(files):
                if number % _PROGRESS_EVERY == 0:
                    show(number)
                try:
                    gray = read_gray(file.path)
                    face = cut(gray)
                    self._check_face(face, file.path)
                except InputError as error:
                    if not (skip_bad or self.settings.skip_bad):
                        how = "skip_bad = true in its set, or --skip-bad, leaves it out"
                        raise InputError(f"{error} ({how})") from error
                    _LOG.info("skipped: %s", error)
                    bad.append(file.path)
                    continue
                if face is None:
                    faceless += 1
                    continue
                split = file.split or _split_by_pixels(gray, drawn)
                rows.append((SPLIT_NAMES.index(split), file.label, face.tobytes()))
        if not rows:
            raise InputError(
                f"{self.root}: nothing of its {len(files)} images is left: {len(bad)} cannot be read, "
                f"{faceless} show no face"
            )
        return self._collected(rows, bad, faceless)

    def _check_face(self, face: UInt8Array | None, path: Path) -> None:
        if face is None and self.settings.no_face == "refuse":
            raise InputError(f"{path}: no face is found in it")

    def _folders(self) -> Iterator[tuple[Path, int, str | None]]:
        """Yield each class folder that is not left out, its label and split. Raises InputError for other folders."""
        folders = _class_folders(self.root, self.settings)
        names = {folder.name for folder, _ in folders}
        matched = match_classes(names, self.settings.classes, self.labels, str(self.root))
        for folder, split in folders:
            label = matched[folder.name]
            if label is not None:
                yield folder, label, split

    def _files(self) -> list[_ImageFile]:
        """Return all images, by path. Raises InputError for a class that is not a label, or is empty."""
        if self.settings.layout != "folders":
            files = self._published()
        else:
            files = [file for folder, label, split in self._folders() for file in _class_files(folder, label, split)]
        if not files:
            raise InputError(f"{self.root}: all of its classes are left out")
        return files

    def _published(self) -> list[_ImageFile]:
        """Return the images of a data set in its published layout."""
        images = LAYOUTS[self.settings.layout](self.root)
        names, classes = {image.class_name for image in images}, dict(self.settings.classes)
        if _CONTEMPT in names and label_of(_CONTEMPT, self.labels) is None:
            classes.setdefault(_CONTEMPT, SKIP)  # not a class of FER2013
        matched = match_classes(names, classes, self.labels, str(self.root))
        files = []
        for image in images:
            label = matched[image.class_name]
            split = {"training": TRAINING, "hash": None}.get(self.settings.split, image.split)
            if label is not None:
                files.append(_ImageFile(image.path, label, split))
        return files

    def _split_settings(self) -> SetSettings:
        """Return settings for the split by hash: without test images if the data set has a test split."""
        given = self.settings.layout != "folders" and self.settings.split != "hash"
        return structs.replace(self.settings, test=0.0) if given else self.settings

    def _collected(self, rows: list[tuple[int, int, bytes]], bad: list[Path], faceless: int) -> Dataset:
        collector = RowCollector()
        for split, label, pixels in sorted(rows, key=lambda row: row[0]):  # stable: by path within a split
            collector.add(SPLIT_NAMES[split], label, pixels)
        notes = []
        if bad:
            named = ", ".join(_printable(path.relative_to(self.root)) for path in bad[:_NAMED_BAD])
            more = f" and {len(bad) - _NAMED_BAD} more" if len(bad) > _NAMED_BAD else ""
            notes.append(f"{len(bad)} images that cannot be read were left out: {named}{more}")
        if faceless:
            notes.append(f"{faceless} of {len(rows) + faceless} images were left out: no face was found in them")
        folders = self._folders() if self.settings.layout == "folders" else ()
        others = [path for folder, _, _ in folders for path in _files_below(folder) if not _is_image(path)]
        if others:
            kinds = Counter(path.suffix.lower() or path.name for path in others).most_common(_NAMED_BAD)
            listed = ", ".join(f"{count} {_printable(kind)}" for kind, count in kinds)
            notes.append(f"{len(others)} files were passed over, of kinds that are not read: {listed}")
        return collector.build(
            self.root.name,
            (self.size, self.size),
            labels=self.labels,
            skipped_rows=len(bad) + faceless,
            notes=tuple(notes),
        )


def is_image_set(path: Path) -> bool:
    """Return whether ``path`` is a folder of class folders in another layout than FER2013's."""
    try:
        if not path.is_dir() or holds_fer2013_file(path):
            return False
        # FER2013's class folders are only in train and test.
        if holds_fer2013(path) and not any(folder.name.lower() in _VALIDATION for folder in _folders_in(path)):
            return False
        return any(folder.is_dir() and next(_images_below(folder), None) is not None for folder in visible(path))
    except OSError:
        return False


def _class_folders(root: Path, settings: SetSettings) -> list[tuple[Path, str | None]]:
    """Return the class folders, by path, each with the split of its parent folder; None: by the pixels."""
    given = {path: split for path, split in _split_folders(root).items() if split is not None}
    trained, tested = TRAINING in given.values(), set(given.values()) - {TRAINING}
    if settings.split == "given" and not (trained and tested):
        raise InputError(f'{root}: has no folders train and test (or val), as split = "given" needs; take "hash"')
    by_folder = settings.split in ("auto", "given") and trained and tested
    found: list[tuple[Path, str | None]] = []
    for parent in given or [root]:
        split = TRAINING if settings.split == "training" else given[parent] if by_folder else None
        found += [(folder, split) for folder in _folders_in(parent)]
    if not found:
        raise InputError(f"{root}: holds no class folders; looked for <class>/… and train/<class>/…")
    return found


def _folders_in(parent: Path) -> list[Path]:
    return sorted((path for path in visible(parent) if path.is_dir()), key=lambda path: path.name)


def _class_files(folder: Path, label: int, split: str | None) -> list[_ImageFile]:
    found = sorted(_images_below(folder), key=lambda path: path.as_posix())
    if not found:
        raise InputError(f'{empty_class(folder)}, or leave its class out: classes = {{ … = "skip" }}')
    # A test split in the name, as in exports, takes precedence where the given split is used.
    return [_ImageFile(path, label, split and (_test_split(path.name) or split)) for path in found]


def _test_split(name: str) -> str | None:
    split = named_split(name)
    return split if split in (PUBLIC_TEST, PRIVATE_TEST) else None


def _images_below(folder: Path) -> Iterator[Path]:
    return filter(_is_image, _files_below(folder))


def _is_image(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_SUFFIXES


def _files_below(folder: Path) -> Iterator[Path]:
    """Yield all files that are not hidden. Raises InputError for a folder that cannot be read: it would seem empty."""

    def refuse(error: OSError) -> None:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}") from error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(parent, name) for name in names if not name.startswith("."))


def _printable(name: Path | str) -> str:
    """Return the name in valid Unicode, whatever its bytes."""
    return os.fsencode(name).decode(errors="replace")


def _split_folders(root: Path) -> dict[Path, str | None]:
    """Return the split of each folder by its name; without a validation folder, the test folder is for validation."""
    folders = _folders_in(root)
    validated = any(path.name.lower() in _VALIDATION for path in folders)
    splits = {
        **dict.fromkeys(_TRAIN, TRAINING),
        **dict.fromkeys(_VALIDATION, PUBLIC_TEST),
        **dict.fromkeys(_TEST, PRIVATE_TEST if validated else PUBLIC_TEST),
    }
    return {path: splits.get(path.name.lower()) for path in folders}


def _split_by_pixels(gray: UInt8Array, settings: SetSettings) -> str:
    """Return a split by the hash of the decoded image, so that equal images are in one split, in any format."""
    height, width = gray.shape
    digest = hashlib.blake2b(f"{height} {width}\0".encode() + gray.tobytes(), digest_size=8).digest()
    drawn = int.from_bytes(digest, "big") / 2**64
    if drawn < settings.test:
        return PRIVATE_TEST
    return PUBLIC_TEST if drawn < settings.test + settings.validation else TRAINING


def _face_cutter(settings: SetSettings, size: int) -> Callable[[UInt8Array], UInt8Array | None]:
    """Return a function from a decoded image to the face, uint8 [size, size], or None if there is none."""
    if settings.faces == "whole":
        return lambda gray: _middle(gray, size)
    from fer_edge.stills import StillFaceFinder

    finder, spec = StillFaceFinder(), CropSpec(size, size)

    def cut(gray: UInt8Array) -> UInt8Array | None:
        faces = finder.find(gray)
        if not faces:
            return _middle(gray, size) if settings.no_face == "whole" else None
        return crop_face(gray, max(faces, key=lambda face: (face.box.area, face.score)), spec).pixels

    return cut


def _middle(gray: UInt8Array, size: int) -> UInt8Array:
    """The largest square about the middle, resampled."""
    height, width = gray.shape
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return resample(np.ascontiguousarray(gray[top : top + side, left : left + side]), size, size)
