"""Miniature FER2013 files in every format of the real one, with optional faults.

Each class is a different grating, symmetric so that mirrored copies keep their class. A tiny network
becomes much better than chance within a few epochs.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
import zipfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from fer_edge.errors import InputError
from fer_train.data.dataset import Dataset, load_dataset
from support.data.caches import users_cache

LABELS = ("angry", "disgust", "fear", "happy", "sad", "surprise", "neutral")
USAGES = ("Training", "PublicTest", "PrivateTest")
FER2013_COLUMNS = ("emotion", "pixels", "Usage")
ICML_COLUMNS = ("emotion", " Usage", " pixels")
"""The header of icml_face_data.csv, with its blanks."""

# Waves per image (vertical, horizontal) of each class's grating.
_WAVES = ((1, 0), (2, 0), (3, 0), (0, 1), (0, 2), (1, 1), (2, 2))


@dataclass(frozen=True, eq=False)
class MiniRow:
    """One row to write; ``pixels`` is uint8 [side, side]."""

    label: int
    usage: str
    pixels: npt.NDArray[np.uint8]


def mini_images(
    labels: Sequence[int] | npt.NDArray[np.int64], *, seed: int = 0, side: int = 48
) -> npt.NDArray[np.uint8]:
    """Return noisy images uint8 [N, side, side], one for each label."""
    rng = np.random.default_rng(seed)
    axis = (np.arange(side) + 0.5) / side - 0.5
    images = np.empty((len(labels), side, side), np.uint8)
    for index, label in enumerate(labels):
        vertical, horizontal = _WAVES[label]
        grating = np.outer(np.cos(2 * np.pi * vertical * axis), np.cos(2 * np.pi * horizontal * axis))
        clean = rng.normal(128, 12) + rng.uniform(40, 80) * grating
        images[index] = np.clip(clean + rng.normal(0, 15, grating.shape), 0, 255)
    return images


def mini_rows(*, per_class: int = 12, test_per_class: int = 4, seed: int = 0, side: int = 48) -> list[MiniRow]:
    """Training rows (``per_class`` of each label), then PublicTest, then PrivateTest (``test_per_class`` of each)."""
    rng = np.random.default_rng(seed)
    rows = []
    for number, usage in enumerate(USAGES):
        count = per_class if usage == "Training" else test_per_class
        labels = rng.permutation(np.repeat(np.arange(len(LABELS)), count))
        images = mini_images(labels, seed=seed * len(USAGES) + number + 1, side=side)
        rows += [MiniRow(int(label), usage, image) for label, image in zip(labels, images, strict=True)]
    return rows


def write_mini_fer2013(
    path: Path,
    *,
    per_class: int = 12,
    test_per_class: int = 4,
    seed: int = 0,
    side: int = 48,
    columns: Sequence[str] = FER2013_COLUMNS,
    duplicates: int = 0,
    leaks: int = 0,
    conflicts: int = 0,
    blanks: int = 0,
) -> Path:
    """Write a miniature FER2013 to ``path`` and return it; the suffix selects the format.

    Faults are added at the end, each from another image: ``duplicates`` repeat a Training row, ``leaks`` put a
    PublicTest image into Training too, ``conflicts`` repeat a Training image with another label, ``blanks`` are
    Training images of one grey value each.
    """
    rows = mini_rows(per_class=per_class, test_per_class=test_per_class, seed=seed, side=side)
    training = [row for row in rows if row.usage == "Training"]
    public = [row for row in rows if row.usage == "PublicTest"]
    rows += training[:duplicates]
    rows += [MiniRow(row.label, "Training", row.pixels) for row in public[:leaks]]
    rows += [
        MiniRow((row.label + 1) % len(LABELS), "Training", row.pixels)
        for row in training[duplicates : duplicates + conflicts]
    ]
    rows += [
        MiniRow(level % len(LABELS), "Training", np.full((side, side), level, np.uint8)) for level in range(blanks)
    ]
    return write_csv(path, csv_bytes(rows, columns=columns))


def csv_bytes(rows: Iterable[MiniRow], *, columns: Sequence[str] = FER2013_COLUMNS, newline: str = "\n") -> bytes:
    """Return ``rows`` as CSV text in the given column order and spelling."""
    lines = [",".join(columns)]
    for row in rows:
        values = {
            "emotion": str(row.label),
            "pixels": " ".join(map(str, row.pixels.ravel().tolist())),
            "usage": row.usage,
        }
        lines.append(",".join(values[column.strip().lower()] for column in columns))
    return (newline.join(lines) + newline).encode()


def write_csv(path: Path, text: bytes, *, member: str = "fer2013.csv") -> Path:
    """Pack CSV ``text`` by the suffix of ``path``: .csv, .xz, .gz, .zip or .tar.gz (as ``member``)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.name.endswith(".tar.gz"):
        with tarfile.open(path, "w:gz") as archive:
            for name, data in (("fer2013/README", b"about"), (f"fer2013/{member}", text)):
                entry = tarfile.TarInfo(name)
                entry.size = len(data)
                archive.addfile(entry, io.BytesIO(data))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr(member, text)
    elif path.suffix == ".xz":
        path.write_bytes(lzma.compress(text, preset=1))
    elif path.suffix == ".gz":
        path.write_bytes(gzip.compress(text, 1))
    else:
        path.write_bytes(text)
    return path


@cache
def _find_real_fer2013() -> Dataset | str:
    """Return the real data set, or the reason why it is missing; searched and decoded once per session."""
    try:
        with users_cache():
            dataset = load_dataset()
    except InputError as error:
        return f"the real FER2013 is not here: {error}"
    if not dataset.is_known_fer2013:
        return f"{dataset.name} is not the FER2013 whose numbers are known"
    for split in dataset.splits.values():
        split.images.setflags(write=False)
        split.labels.setflags(write=False)
    return dataset


def real_fer2013() -> Dataset:
    """Return the real data set, found as by the program, read-only because all tests share it.

    Skips the calling test if it is missing.
    """
    found = _find_real_fer2013()
    if isinstance(found, str):
        pytest.skip(found)
    return found
