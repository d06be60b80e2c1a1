"""The results of Haar and the classifier for the shown images, when these are large, upright, clean and alone.

They are not used to choose images. They are the best result that is possible for a sequence.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import cv2
import numpy as np

from fer_bench.pipeline.scoring import match_boxes
from fer_bench.sequence.cast import Cast, Segment
from fer_bench.sequence.scoring import MIN_IOU
from fer_edge.images.resample import resample
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.detection.haar import load_cascade
from fer_edge.types import HAAR_MARGIN, Box, Face, FaceCrop, Float32Array, UInt8Array

_SIDE = 144
"""Images of 48 pixels are enlarged to this size. The Haar box is then 133 pixels wide, as in an easy sequence."""
_WALL = 110
"""Gray level around the image."""


class CleanView:
    """The results for each image of a cast, which are computed once."""

    def __init__(self, cast: Cast, classifier: EmotionClassifier) -> None:
        self._cast, self._classifier = cast, classifier
        self._cascade: Any = load_cascade()
        self._found: dict[int, bool] = {}
        self._probabilities: dict[int, Float32Array] = {}

    def found(self, row: int) -> bool:
        """Return whether ``detectMultiScale(1.1, 5)`` finds the face."""
        if row not in self._found:
            picture, truth = _alone(self._cast.image(row))
            boxes = [Box(*map(int, box)) for box in self._cascade.detectMultiScale(picture, 1.1, 5)]
            self._found[row] = bool(match_boxes([truth], boxes, MIN_IOU))
        return self._found[row]

    def label(self, segment: Segment) -> str | None:
        """Return the classifier's label for a segment.

        It is the label whose probability, averaged over the segment's images that Haar finds, is above one half. None
        if there is none: then the label of this segment is not expected to be reported.
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
        """Return how many of the distinct ``rows`` are found, and their number."""
        distinct = set(rows)
        return sum(self.found(row) for row in distinct), len(distinct)


def _alone(image: UInt8Array) -> tuple[UInt8Array, Box]:
    """Return the image on a wall, and its Haar box."""
    picture = np.full((2 * _SIDE, 2 * _SIDE), _WALL, dtype=np.uint8)
    large = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_CUBIC)
    picture[_SIDE // 2 : _SIDE // 2 + _SIDE, _SIDE // 2 : _SIDE // 2 + _SIDE] = large
    side = round(_SIDE / HAAR_MARGIN)
    start = _SIDE - side // 2
    return picture, Box(start, start, side, side)


def rows_of(parts: Iterable[Sequence[Segment]]) -> set[int]:
    """Return the images that are shown in ``parts``."""
    return {row for part in parts for segment in part for row in segment.rows}
