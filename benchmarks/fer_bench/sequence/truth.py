"""What Haar and the classifier say of the images that play, shown to them large, upright, clean and alone.

Nothing is chosen by it: it tells what could be told of a sequence at best.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from fer_bench.pipeline.scoring import match_boxes
from fer_bench.sequence.cast import Cast, Segment
from fer_bench.sequence.scoring import LEAST_IOU
from fer_edge.images.resample import resample
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.detection.haar import load_cascade
from fer_edge.types import HAAR_MARGIN, Box, Face, FaceCrop, Float32Array, UInt8Array

_SIDE = 144
"""An image of 48 pixels is enlarged to so many, of which its Haar box is 133: about an easy sequence's face."""
_WALL = 110
"""Grey of what is around it."""


class CleanView:
    """What is said of each image of a cast; each is looked at once."""

    def __init__(self, cast: Cast, classifier: EmotionClassifier) -> None:
        self._cast, self._classifier = cast, classifier
        self._cascade: Any = load_cascade()
        self._found: dict[int, bool] = {}
        self._probabilities: dict[int, Float32Array] = {}

    def found(self, row: int) -> bool:
        """Whether ``detectMultiScale(1.1, 5)`` finds the face where it is."""
        if row not in self._found:
            picture, truth = _alone(self._cast.image(row))
            boxes = [Box(*map(int, box)) for box in self._cascade.detectMultiScale(picture, 1.1, 5)]
            self._found[row] = bool(match_boxes([truth], boxes, LEAST_IOU))
        return self._found[row]

    def label(self, segment: Segment) -> str | None:
        """What the classifier calls a segment: the label that its images have more of than of all others together.

        That is the label whose probability, averaged over the segment's images that Haar finds, is above one half. None
        where there is none: then nobody could tell of this segment.
        """
        rows = [row for row in segment.rows if self.found(row)]
        if not rows:
            return None
        mean = np.mean([self._classified(row) for row in rows], axis=0)
        top = int(mean.argmax())
        return self._classifier.labels[top] if mean[top] > 0.5 else None

    def _classified(self, row: int) -> Float32Array:
        if row not in self._probabilities:
            spec = self._classifier.crop_spec
            pixels = resample(self._cast.image(row), spec.height, spec.width)
            crop = FaceCrop(Face(Box(0, 0, spec.width, spec.height), 0.0), pixels, 1.0)
            self._probabilities[row] = self._classifier.classify(crop).values
        return self._probabilities[row]

    def share_found(self, rows: Iterable[int]) -> tuple[int, int]:
        """How many of the distinct ``rows`` are found, and how many there are."""
        distinct = set(rows)
        return sum(self.found(row) for row in distinct), len(distinct)


def _alone(image: UInt8Array) -> tuple[UInt8Array, Box]:
    """The image before a wall, and its Haar box."""
    picture = np.full((2 * _SIDE, 2 * _SIDE), _WALL, dtype=np.uint8)
    large = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    picture[_SIDE // 2 : _SIDE // 2 + _SIDE, _SIDE // 2 : _SIDE // 2 + _SIDE] = large
    side = round(_SIDE / HAAR_MARGIN)
    start = _SIDE - side // 2
    return picture, Box(start, start, side, side)


def rows_of(parts: Iterable[Sequence[Segment]]) -> set[int]:
    """The images that play in ``parts``."""
    return {row for part in parts for segment in part for row in segment.rows}
