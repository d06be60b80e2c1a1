"""Who plays in the sequences: FER2013's faces that people agreed on, and when which of them is shown.

A face that lives is made of several images of one label, in turn; after a while it takes on another label. The images
are different people's: FER2013 has one of each. They are chosen by a seed and by what people said of them, never by
what a detector or a classifier says.
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

LEAST_AGREEMENT = 0.8
"""Share of FER+'s raters who named an image as FER2013 does, from which it may play."""
LEAST_IMAGES = 10
"""Of a label, for it to be shown: disgust has one image in PublicTest on which so many people agree."""
HOLD_FRAMES = 6
"""Frames for which an image is shown until the next of its label takes its place: 0.4 s."""
SEGMENT_FRAMES = 60
"""Frames for which a label lasts: 4 s."""
_IMAGES = 5
"""Different images of a segment."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Frames ``start`` up to, not including, ``end``, in which a face bears ``label`` and shows ``rows`` in turn."""

    start: int
    end: int
    label: str
    rows: tuple[int, ...]

    def row_at(self, index: int) -> int:
        """The image that frame ``index`` shows: its row in the split."""
        return self.rows[(index - self.start) // HOLD_FRAMES % len(self.rows)]


class Cast:
    """The faces of one split that may play."""

    def __init__(self, dataset: Dataset, split: str, votes: Float32Array | None) -> None:
        """``votes`` are FER+'s of the split, float32 [rows, 10]; None: an image's label alone is known.

        Raises InputError when fewer than two labels have enough images.
        """
        self.name, self.split, self.rows_sha256 = dataset.name, split, dataset.rows_sha256
        self.by_votes = votes is not None
        self._images = dataset.splits[split].images
        agreed = _agreed(dataset, split, votes)
        labels = dataset.splits[split].labels
        self._pools: dict[str, npt.NDArray[np.int64]] = {}
        for number, label in enumerate(dataset.labels):
            rows = np.flatnonzero(agreed & (labels == number))
            if len(rows) >= LEAST_IMAGES:
                self._pools[label] = rows[random_order((2013, number), len(rows))]
        self.left_out = tuple(label for label in dataset.labels if label not in self._pools)
        """Labels that have too few images."""
        if len(self._pools) < 2:
            raise InputError(f"{dataset.name}: {split} has too few images of two labels to make sequences of")

    @property
    def candidates(self) -> int:
        """Number of images that may play."""
        return sum(map(len, self._pools.values()))

    def part(self, seed: Sequence[int], frames: int) -> tuple[Segment, ...]:
        """What one face shows over ``frames`` frames; the first segment is cut short, so that faces change one by one.

        The images of a segment are neighbours in the label's random order.
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
        """FER2013's image of ``row`` in the split, uint8 [48, 48]."""
        image: UInt8Array = self._images[row]
        return image

    def picture(self, row: int, label: str) -> FacePicture:
        """That image, ready to be painted."""
        return face_picture(row, self.image(row), label)


def _agreed(dataset: Dataset, split: str, votes: Float32Array | None) -> npt.NDArray[np.bool_]:
    """Which images of ``split`` nearly all raters named as FER2013 does; all of them where nobody voted."""
    labels = dataset.splits[split].labels
    if votes is None:
        return np.ones(len(labels), dtype=np.bool_)
    share = votes.max(axis=1) / np.maximum(votes.sum(axis=1), 1)
    return np.asarray((majority_labels(votes, dataset.labels) == labels) & (share >= LEAST_AGREEMENT))
