"""Faces, turned ones too, by the network YuNet (Wu, Peng and Yu, 2023), in any region and at any scale of a frame."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.images.resample import resample
from fer_edge.settings.runtime import YUNET_MIN_PX, DetectorSettings
from fer_edge.stages.detection.overlaps import suppress_overlaps
from fer_edge.stages.detection.yunet_model import STRIDE, load_model
from fer_edge.types import Box, Face, Search, UInt8Array, check_gray

MAX_FACE_PX = 300
"""Largest face in pixels of the searched picture that is found surely, by the publisher and by measurement; a larger
one is looked for in the picture at half its size."""
SIDE_OF_WIDTH, SIDE_OF_HEIGHT, UP = 0.82, 0.23, 0.02
"""The Haar box of the same face, from which the crop's margin is measured: its side is 0.82 · width + 0.23 · height of
YuNet's box, its centre above by 0.02 of that. Fitted to the true places of FER2013's Training faces in drawn scenes."""


class YuNetFaceDetector:
    """Finds faces from frontal to profile. Not for use by two threads at once.

    Its boxes are converted to those that the Haar cascade would draw, so that the classifier reads the same crop.
    """

    def __init__(self, settings: DetectorSettings) -> None:
        """Load ``settings.model``. Raises ConfigError if there is none, ModelError if the file is refused."""
        if settings.model is None:
            raise ConfigError("YuNetFaceDetector needs DetectorSettings with a model")
        self._settings = settings
        min_score = min(settings.min_score, settings.known_min_score)
        self._model = load_model(Path(settings.model), min_score, settings.max_overlap)

    def detect(self, gray: UInt8Array, search: Search) -> list[Face]:
        """Return the faces whose centre is in ``search.region`` of ``gray``, uint8 [H, W], surest first.

        Boxes are in pixels of ``gray`` and may reach beyond the region. No face is reported whose centre is in one of
        ``search.hidden``.

        Raises:
            InputError: If ``gray`` is not a 2-D uint8 array.
        """
        check_gray(gray)
        height, width = gray.shape
        area = search.region.clipped(width, height)
        if min(area.width, area.height) * search.scale < YUNET_MIN_PX:
            return []
        settings = self._settings
        smallest = settings.min_face if search.min_face is None else search.min_face
        largest = min(math.inf if search.max_face is None else search.max_face, max(area.width, area.height))
        least_score = settings.known_min_score if search.known else settings.min_score
        faces = [
            face
            for level in _levels(search.scale, largest)
            for face in self._search(gray, area, level)
            if face.score >= least_score
            and smallest <= face.box.width <= largest
            and _holds(area, face.box)
            and not any(_holds(box, face.box) for box in search.hidden)
        ]
        return suppress_overlaps(faces)

    def _search(self, gray: UInt8Array, area: Box, scale: float) -> Iterator[Face]:
        """The faces in and around ``area``, searched at ``scale``, as Haar boxes in pixels of ``gray``."""
        view = _view(gray, area, scale)
        for answer in self._model.run(view.pixels):
            x, y, width, height = (float(value) for value in answer[:4])
            box = (
                view.left + x / view.scale_x,
                view.top + y / view.scale_y,
                width / view.scale_x,
                height / view.scale_y,
            )
            yield Face(haar_box(*box), float(answer[-1]))


def haar_box(x: float, y: float, width: float, height: float) -> Box:
    """Return the square box that the Haar cascade would draw for the face of the YuNet box given, all in pixels."""
    side = SIDE_OF_WIDTH * width + SIDE_OF_HEIGHT * height
    whole = max(1, round(side))
    return Box(round(x + (width - whole) / 2), round(y + (height - whole) / 2 - UP * side), whole, whole)


def _levels(scale: float, largest: float) -> Iterator[float]:
    """``scale``, and halves of it for the faces that are too large there."""
    yield scale
    while largest * scale > MAX_FACE_PX:
        scale /= 2
        yield scale


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """``pixels``, uint8 [H, W], show the frame from (``left``, ``top``) on, at the scales given."""

    pixels: UInt8Array
    left: int
    top: int
    scale_x: float
    scale_y: float


def _view(gray: UInt8Array, area: Box, scale: float) -> _View:
    """``area`` of the frame ``gray`` at about ``scale``, with sides that are multiples of ``STRIDE``.

    What that adds shows the frame around the area where there is any, else grey.
    """
    height, width = gray.shape
    x, across, columns = _stretched(area.x, area.width, width, scale)
    y, down, rows = _stretched(area.y, area.height, height, scale)
    seen_columns, seen_rows = min(columns, max(1, round(across * scale))), min(rows, max(1, round(down * scale)))
    picture = resample(gray[y : y + down, x : x + across], seen_rows, seen_columns)
    if (rows, columns) != picture.shape:
        mean = cv2.mean(picture)[0]
        picture = np.asarray(
            cv2.copyMakeBorder(
                picture, 0, rows - seen_rows, 0, columns - seen_columns, cv2.BORDER_CONSTANT, value=(mean,)
            ),
            np.uint8,
        )
    return _View(picture, x, y, seen_columns / across, seen_rows / down)


def _stretched(start: int, length: int, whole: int, scale: float) -> tuple[int, int, int]:
    """Start and length of the stretch of the frame's side ``whole`` to show, and the picture's pixels for it."""
    pixels = -(-max(1, round(length * scale)) // STRIDE) * STRIDE
    longer = min(whole, max(length, round(pixels / scale)))
    return min(max(0, start - (longer - length) // 2), whole - longer), longer, pixels


def _holds(box: Box, face: Box) -> bool:
    x, y = face.centre
    return box.x <= x < box.x + box.width and box.y <= y < box.y + box.height
