"""Detect frontal and turned faces with the YuNet network (Wu, Peng and Yu, 2023), in any region and at any scale."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fer_edge.errors import ConfigError
from fer_edge.images.resample import resample
from fer_edge.settings.pipeline import YUNET_MIN_PX, DetectorSettings
from fer_edge.stages.detection.overlaps import suppress_overlaps
from fer_edge.stages.detection.yunet_model import STRIDE, YuNetModel, read_model, test_in_subprocess
from fer_edge.types import Box, Face, Search, UInt8Array, check_gray

MAX_FACE_PX = 300
"""Largest face that is found reliably, in pixels of the searched image, according to the publisher and to measurement.
Larger faces are searched for at half the scale."""
SIDE_OF_WIDTH, SIDE_OF_HEIGHT, UP = 0.82, 0.23, 0.02
"""Conversion to the Haar box of the same face, which the crop's margin is based on. Its side is 0.82 · width +
0.23 · height of YuNet's box, its centre is higher by 0.02 of that side. Fitted to the true positions of FER2013's
Training faces in synthetic scenes."""


class YuNetFaceDetector:
    """Detector of faces from frontal to profile. Not thread-safe.

    Its boxes are converted to those of the Haar cascade, so that the classifier receives the same crops.

    The model file is not part of the package:

    >>> from fer_edge import DetectorSettings
    >>> YuNetFaceDetector(DetectorSettings(kind="yunet", model="missing.onnx"))
    Traceback (most recent call last):
    fer_edge.errors.ModelError: missing.onnx: no such file; detector.model is ...
    """

    def __init__(self, settings: DetectorSettings) -> None:
        """Load the file ``settings.model``.

        Raises:
            ConfigError: If the settings name no model.
            ModelError: If the file is missing or refused.
        """
        if settings.model is None:
            raise ConfigError("YuNetFaceDetector needs DetectorSettings with a model")
        self._settings = settings
        file = read_model(Path(settings.model))
        if file.name is None:  # not a published one
            test_in_subprocess(file)
        self._model = YuNetModel(file, min(settings.min_score, settings.known_min_score), settings.max_iou)

    def detect(self, gray: UInt8Array, search: Search) -> list[Face]:
        """Return the faces whose centre is in ``search.region`` of ``gray``, uint8 [H, W], by descending score.

        Boxes are in pixels of ``gray`` and may extend beyond the region. Faces whose centre is in one of the boxes
        ``search.hidden`` are left out.

        Raises:
            InputError: If ``gray`` is not a 2-D uint8 array.
        """
        check_gray(gray)
        height, width = gray.shape
        area = search.region.clipped(width, height)
        if min(area.width, area.height) * search.scale < YUNET_MIN_PX:
            return []
        settings = self._settings
        min_face = settings.min_face_px if search.min_face is None else search.min_face
        max_face = min(math.inf if search.max_face is None else search.max_face, max(area.width, area.height))
        min_score = settings.known_min_score if search.known else settings.min_score
        faces = [
            face
            for level in _levels(search.scale, max_face)
            for face in self._search(gray, area, level)
            if face.score >= min_score
            and min_face <= face.box.width <= max_face
            and _holds(area, face.box)
            and not any(_holds(box, face.box) for box in search.hidden)
        ]
        return suppress_overlaps(faces)

    def _search(self, gray: UInt8Array, area: Box, scale: float) -> Iterator[Face]:
        """Yield the faces in and around ``area``, searched at ``scale``, with Haar boxes in pixels of ``gray``."""
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
    """Return the square box that the Haar cascade would return for the face of a YuNet box, all in pixels."""
    side = SIDE_OF_WIDTH * width + SIDE_OF_HEIGHT * height
    whole = max(1, round(side))
    return Box(round(x + (width - whole) / 2), round(y + (height - whole) / 2 - UP * side), whole, whole)


def _levels(scale: float, max_face: float) -> Iterator[float]:
    """Yield ``scale``, then half of it, and so on until ``max_face`` is small enough."""
    yield scale
    while max_face * scale > MAX_FACE_PX:
        scale /= 2
        yield scale


@dataclass(frozen=True, slots=True, eq=False)
class _View:
    """A scaled part of a frame: ``pixels``, uint8 [H, W], with its origin at (``left``, ``top``) of the frame."""

    pixels: UInt8Array
    left: int
    top: int
    scale_x: float
    scale_y: float


def _view(gray: UInt8Array, area: Box, scale: float) -> _View:
    """Return ``area`` of the frame ``gray`` at about ``scale``, with sides that are multiples of ``STRIDE``.

    The added pixels show the frame around the area; beyond the edge of the frame they have the mean grey.
    """
    height, width = gray.shape
    x, across, columns = _extended(area.x, area.width, width, scale)
    y, down, rows = _extended(area.y, area.height, height, scale)
    inner_columns, inner_rows = min(columns, max(1, round(across * scale))), min(rows, max(1, round(down * scale)))
    image = resample(gray[y : y + down, x : x + across], inner_rows, inner_columns)
    if (rows, columns) != image.shape:
        mean = cv2.mean(image)[0]
        image = np.asarray(
            cv2.copyMakeBorder(
                image, 0, rows - inner_rows, 0, columns - inner_columns, cv2.BORDER_CONSTANT, value=(mean,)
            ),
            np.uint8,
        )
    return _View(image, x, y, inner_columns / across, inner_rows / down)


def _extended(start: int, length: int, whole: int, scale: float) -> tuple[int, int, int]:
    """Extend an interval of the frame's side ``whole`` so that its scaled length is a multiple of ``STRIDE``.

    Returns:
        Start and length of the interval in pixels of the frame, and its length in pixels of the scaled image.
    """
    pixels = -(-max(1, round(length * scale)) // STRIDE) * STRIDE
    longer = min(whole, max(length, round(pixels / scale)))
    return min(max(0, start - (longer - length) // 2), whole - longer), longer, pixels


def _holds(box: Box, face: Box) -> bool:
    x, y = face.centre
    return box.x <= x < box.x + box.width and box.y <= y < box.y + box.height
