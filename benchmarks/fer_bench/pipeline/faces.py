"""The faces in the scenes: FER2013's PublicTest if it is available, else the portrait of the demo."""

from __future__ import annotations

import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from fer_bench.pipeline.raster import enlarge, feathered, random_order
from fer_bench.results.pipeline import FaceSource
from fer_edge.errors import InputError
from fer_edge.images.files import decode_gray
from fer_edge.types import HAAR_MARGIN, Float32Array, UInt8Array

if TYPE_CHECKING:
    from fer_train.data.dataset import Dataset

_PORTRAIT_CENTRE, _PORTRAIT_FACE = (224.5, 113.5), 95.0
"""Center and side of the Haar box in assets/astronaut.jpg, in pixels."""
_FEATHER = 0.06
"""Share of a face's side over which it fades into the background, because real pictures have no cut edges."""
_DETAIL = 4
"""Factor by which FER2013's images are enlarged smoothly, before they are placed by bilinear interpolation."""
_SEED, _SPLIT = 2013, "PublicTest"


@dataclass(frozen=True, slots=True, eq=False)
class FacePicture:
    """A face to paint on a background: ``gray`` (0..255) and ``opacity`` (0..1), float32 [h, w].

    The face's Haar box is ``side`` pixels of this picture wide, with its center at ``centre`` (x, y). ``number``
    identifies the face; ``label`` is None if the emotion is not known.
    """

    number: int
    gray: Float32Array
    opacity: Float32Array
    centre: tuple[float, float]
    side: float
    label: str | None

    @property
    def reach(self) -> float:
        """Width of the picture divided by that of the face's box."""
        return int(self.gray.shape[1]) / self.side


class FaceSupply(Protocol):
    """An unlimited supply of faces by number; the same number is always the same face."""

    source: FaceSource
    labelled: bool

    def face(self, number: int) -> FacePicture:
        """Return face ``number``, from 0. There may be fewer faces than numbers."""
        ...


def open_faces(data: Path | None) -> FaceSupply:
    """Return the faces of FER2013 in ``data`` (None: the default places), else the portrait.

    Raises InputError if the data that was given, or found, cannot be used.
    """
    try:
        # Imported here: a Pi has neither the data set nor the training package.
        from fer_train.data.dataset import load_dataset
        from fer_train.data.readers.locate import DatasetNotFoundError
    except ImportError:
        if data is not None or os.environ.get("FER_EDGE_DATA"):
            raise
        return Portrait()
    try:
        return Fer2013Faces(load_dataset(data))
    except DatasetNotFoundError:
        return Portrait()


class Fer2013Faces:
    """Faces of PublicTest, chosen with a fixed seed, independent of their labels and of any detector."""

    labelled = True

    def __init__(self, dataset: Dataset) -> None:
        self._split = dataset.splits[_SPLIT]
        if not len(self._split):
            raise InputError(f"{dataset.name}: no {_SPLIT} images to make scenes of")
        self._labels = dataset.labels
        self._order = random_order((_SEED,), len(self._split))
        self.source = FaceSource(f"{dataset.name} {_SPLIT}", len(self._split), dataset.rows_sha256)

    def face(self, number: int) -> FacePicture:
        """See ``FaceSupply.face``."""
        number %= len(self._order)
        row = int(self._order[number])
        return face_picture(number, self._split.images[row], self._labels[int(self._split.labels[row])])


def face_picture(number: int, image: UInt8Array, label: str) -> FacePicture:
    """Return an image of FER2013, uint8 [h, w], enlarged and with soft edges."""
    side = _DETAIL * max(image.shape)
    gray = enlarge(image.astype(np.float32), side)
    opacity = feathered(gray.shape, _FEATHER * side)
    return FacePicture(number, gray, opacity, (side / 2, side / 2), side / HAAR_MARGIN, label)


class Portrait:
    """Head and shoulders of the demo's portrait, which has no label."""

    labelled = False
    source = FaceSource("portrait", 1, None)

    def __init__(self) -> None:
        assets = files("fer_edge") / "assets"
        gray, mask = (
            decode_gray((assets / name).read_bytes(), f"assets/{name}").astype(np.float32)
            for name in ("astronaut.jpg", "astronaut-mask.png")
        )
        (x, y), side = _PORTRAIT_CENTRE, _PORTRAIT_FACE
        left, top, right, bottom = (round(end) for end in (x - 0.85 * side, y - side, x + 0.85 * side, y + 1.1 * side))
        gray, mask = gray[top:bottom, left:right], mask[top:bottom, left:right]
        # The lower edge fades out, because the portrait is cut off there.
        opacity: Float32Array = feathered(gray.shape, 0.12 * side) * (mask / 255.0)
        self._face = FacePicture(0, gray, opacity, (x - left, y - top), side, None)

    def face(self, number: int) -> FacePicture:
        """See ``FaceSupply.face``."""
        return self._face
