"""Choose the images of FER2013 that the faces in the sequences show, and when each is shown.

A face shows several images of one label in turn, and then changes to another label. The images are of different people,
because FER2013 has one image of each. They are chosen by a seed and by the agreement of raters, never by the result of
a detector or classifier.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from fer_bench.pipeline.faces import FacePicture, face_picture
from fer_bench.pipeline.raster import random_order, random_shares
from fer_edge.errors import InputError
from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.ferplus import majority_labels
from fer_train.data.samples import Dataset

MIN_AGREEMENT = 0.8
"""Minimum share of FER+'s raters that agree with the label of FER2013."""
MIN_IMAGES = 10
"""Minimum number of such images of a label. Disgust has only one in PublicTest."""
HOLD_FRAMES = 6
"""Frames for which an image is shown, 0.4 s, until the next one with its label."""
SEGMENT_FRAMES = 60
"""Frames for which a label is shown: 4 s."""
_IMAGES = 5
"""Number of different images in a segment."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames from ``start`` until before ``end``, in which a face has ``label`` and shows ``rows`` in turn."""

    start: int
    end: int
    label: str
    rows: tuple[int, ...]

    def row_at(self, index: int) -> int:
        """Return the image in frame ``index``, as its row in the split."""
        return self.rows[(index - self.start) // HOLD_FRAMES % len(self.rows)]


class Cast:
    """The images of one split that may be shown."""

    def __init__(self, dataset: Dataset, split: str, votes: Float32Array | None) -> None:
        """``votes`` are FER+'s for the split, float32 [rows, 10]; None: choose by the label alone.

        Raises InputError if fewer than two labels have enough images.
        """
        self.name, self.split, self.rows_sha256 = dataset.name, split, dataset.rows_sha256
        self.by_votes = votes is not None
        self._images = dataset.splits[split].images
        agreed = _agreed(dataset, split, votes)
        labels = dataset.splits[split].labels
        self._pools: dict[str, npt.NDArray[np.int64]] = {}
        for number, label in enumerate(dataset.labels):
            rows = np.flatnonzero(agreed & (labels == number))
            if len(rows) >= MIN_IMAGES:
                self._pools[label] = rows[random_order((2013, number), len(rows))]
        self.left_out = tuple(label for label in dataset.labels if label not in self._pools)
        """Labels with too few images."""
        if len(self._pools) < 2:
            raise InputError(f"{dataset.name}: {split} has too few images of two labels to make sequences of")

    @property
    def candidates(self) -> int:
        """Number of images that may be shown."""
        return sum(map(len, self._pools.values()))

    def part(self, seed: Sequence[int], frames: int) -> tuple[Segment, ...]:
        """Return the segments of one face over ``frames`` frames.

        The first segment has a random length, so that faces change at different times. The images of a segment follow
        each other in the label's random order.
        """
        names = list(self._pools)
        cut = int(random_shares((*seed, 0), 1)[0] * SEGMENT_FRAMES / 2)
        starts = [0, *range(SEGMENT_FRAMES - cut, frames, SEGMENT_FRAMES), frames]
        shares = random_shares((*seed, 1), 2 * len(starts))
        segments: list[Segment] = []
        for number, (start, end) in enumerate(pairwise(starts)):
            others = [name for name in names if not segments or name != segments[-1].label]
            label = others[int(shares[2 * number] * len(others))]
            pool = self._pools[label]
            first = int(shares[2 * number + 1] * len(pool))
            rows = tuple(int(pool[(first + step) % len(pool)]) for step in range(_IMAGES))
            segments.append(Segment(start, end, label, rows))
        return tuple(segments)

    def image(self, row: int) -> UInt8Array:
        """Return image ``row`` of the split, uint8 [48, 48]."""
        image: UInt8Array = self._images[row]
        return image

    def picture(self, row: int, label: str) -> FacePicture:
        """Return that image as a face to paint."""
        return face_picture(row, self.image(row), label)


def _agreed(dataset: Dataset, split: str, votes: Float32Array | None) -> npt.NDArray[np.bool_]:
    """Return which images of ``split`` nearly all raters gave their label; without votes, all."""
    labels = dataset.splits[split].labels
    if votes is None:
        return np.ones(len(labels), dtype=np.bool_)
    share = votes.max(axis=1) / np.maximum(votes.sum(axis=1), 1)
    return np.asarray((majority_labels(votes, dataset.labels) == labels) & (share >= MIN_AGREEMENT))
