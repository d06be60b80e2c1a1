"""The crops of the face check's data set, chunk by chunk, each from its own seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from fer_edge.types import UInt8Array
from fer_train.data.face_check.clutter import clutter_picture
from fer_train.data.face_check.crops import FRAME, clutter_crops, face_crop, near_face

COUNTS = {"train": (14_000, 6_000, 9_000), "val": (1_000, 400, 600)}
"""Number of crops of faces, near faces and of clutter."""
_CHUNK = 250
"""Crops from one seed, so that the files do not depend on the number of processes."""
_WALLS_LAST = 40
"""Faces in front of one background."""
FACE, NEAR, CLUTTER = range(3)


@dataclass(frozen=True, slots=True)
class Chunk:
    """``count`` crops of a ``kind`` for ``folder``, whose files count from ``first``."""

    folder: Path
    kind: int
    first: int
    count: int
    seed: tuple[int, ...]


def chunks(out: Path, name: str, scale: float, seed: tuple[int, int]) -> Iterator[Chunk]:
    """Yield all chunks of the folder ``name``; ``scale`` is the share of the usual number of crops."""
    for kind, count in enumerate(COUNTS[name]):
        folder = out / ("face" if kind == FACE else "clutter")
        wanted = max(8, round(scale * count))
        for start in range(0, wanted, _CHUNK):
            first = kind * 1_000_000 + start
            yield Chunk(folder, kind, first, min(_CHUNK, wanted - start), (*seed, kind, start))


def images_of(images: UInt8Array, chunk: Chunk) -> UInt8Array:
    """Return the images for ``chunk``; successive chunks use all images in turn, in a random order."""
    if chunk.kind == CLUTTER:
        return images[:0]
    order = np.random.default_rng((*chunk.seed[:2], chunk.kind)).permutation(len(images))
    at = chunk.first % 1_000_000
    return np.asarray(images[np.take(order, range(at, at + chunk.count), mode="wrap")], dtype=np.uint8)


def write(chunk: Chunk, images: UInt8Array) -> None:
    """Make the crops of ``chunk`` of ``images``, uint8 [N, 48, 48], and write them as PNG."""
    random = np.random.default_rng(chunk.seed)
    crops = _clutter(random) if chunk.kind == CLUTTER else _before_walls(random, images, chunk.kind)
    for number, crop in enumerate(islice(crops, chunk.count), chunk.first):
        cv2.imwrite(str(chunk.folder / f"{number:07}.png"), crop)


def _before_walls(random: np.random.Generator, images: UInt8Array, kind: int) -> Iterator[UInt8Array]:
    cut = face_crop if kind == FACE else near_face
    for place, image in enumerate(images):
        if place % _WALLS_LAST == 0:
            wall = clutter_picture(random, FRAME)
        yield cut(random, image, images[int(random.integers(len(images)))], wall)


def _clutter(random: np.random.Generator) -> Iterator[UInt8Array]:
    while True:
        yield from clutter_crops(random)
