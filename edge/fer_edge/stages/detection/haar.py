"""Detect frontal faces with OpenCV's Haar cascade (Viola and Jones, 2001), in any region and at any scale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from fer_edge.errors import ModelError
from fer_edge.images.resample import resample
from fer_edge.settings.pipeline import CASCADE_WINDOW, DetectorSettings
from fer_edge.stages.detection.overlaps import suppress_overlaps
from fer_edge.system.opencv_setup import opencv_path
from fer_edge.types import Box, Face, Search, UInt8Array, check_gray

CASCADE_FILE = "haarcascade_frontalface_default.xml"
_DEBIAN_CASCADES = Path("/usr/share/opencv4/haarcascades")


class HaarFaceDetector:
    """Detector of upright frontal faces. Not thread-safe.

    >>> import cv2
    >>> from importlib.resources import files
    >>> from fer_edge import Search, to_gray
    >>> gray = to_gray(cv2.imread(str(files("fer_edge") / "assets" / "astronaut.jpg")))
    >>> faces = HaarFaceDetector().detect(gray, Search.whole(gray))
    >>> len(faces), faces[0].box.width > 80
    (1, True)
    """

    def __init__(self, settings: DetectorSettings | None = None) -> None:
        """Load the cascade.

        Raises:
            ModelError: If OpenCV has no cascade classifier, or if the XML file is missing or damaged.
        """
        self._settings = settings or DetectorSettings()
        self._cascade = load_cascade()
        self._reduced = np.empty(0, np.uint8)  # reused for reduced images, and grown to the largest one so far

    def detect(self, gray: UInt8Array, search: Search) -> list[Face]:
        """Return the faces in ``search.region`` of ``gray``, uint8 [H, W], by descending score.

        Boxes are in pixels of ``gray`` and lie inside the region.

        Raises:
            InputError: If ``gray`` is not a 2-D uint8 array.
        """
        check_gray(gray)
        height, width = gray.shape
        area, scale = search.region.clipped(width, height), search.scale
        small_width, small_height = round(area.width * scale), round(area.height * scale)
        if min(small_width, small_height) < CASCADE_WINDOW:
            return []
        patch = gray[area.y : area.y + area.height, area.x : area.x + area.width]
        low = round((self._settings.min_face_px if search.min_face is None else search.min_face) * scale)
        high = 0 if search.max_face is None else max(CASCADE_WINDOW, round(search.max_face * scale))
        settings = self._settings
        found, _, weights = self._cascade.detectMultiScale3(
            self._reduce(gray, patch, (small_height, small_width), area, search.hidden),
            scaleFactor=settings.known_scale_factor if search.known else settings.scale_factor,
            minNeighbors=settings.known_min_neighbors if search.known else settings.min_neighbors,
            minSize=(max(CASCADE_WINDOW, low),) * 2,
            maxSize=(high, high),
            outputRejectLevels=True,
        )
        to_x, to_y = area.width / small_width, area.height / small_height
        faces = [
            Face(_to_frame(found_box, area, to_x, to_y), float(weight))
            for found_box, weight in zip(found, np.ravel(weights), strict=True)
        ]
        return suppress_overlaps(faces)

    def _reduce(
        self, gray: UInt8Array, patch: UInt8Array, size: tuple[int, int], area: Box, hidden: Sequence[Box]
    ) -> UInt8Array:
        """Resample ``patch``, which is ``area`` of ``gray``, to ``size`` (height, width); blank the hidden boxes."""
        reduced = resample(patch, *size, out=self._buffer(*size))
        if hidden:
            reduced = reduced.copy() if np.may_share_memory(reduced, gray) else reduced
            _blank(reduced, area, hidden)
        return reduced

    def _buffer(self, height: int, width: int) -> UInt8Array:
        if self._reduced.size < height * width:
            self._reduced = np.empty(height * width, np.uint8)
        return self._reduced[: height * width].reshape(height, width)


def _blank(patch: UInt8Array, area: Box, hidden: Sequence[Box]) -> None:
    """Fill the ``hidden`` boxes of the frame in ``patch``, which is ``area`` of it, with the mean grey of the patch."""
    height, width = patch.shape
    mean = cv2.mean(patch)[0]
    for box in hidden:
        rows = _stretch(box.y - area.y, box.height, height / area.height, height)
        columns = _stretch(box.x - area.x, box.width, width / area.width, width)
        patch[rows, columns] = mean


def _stretch(start: int, length: int, scale: float, length_px: int) -> slice:
    return slice(max(0, round(start * scale)), min(length_px, round((start + length) * scale)))


def _to_frame(found: Any, area: Box, to_x: float, to_y: float) -> Box:
    """Convert a box of the scaled region to pixels of the frame, clipped to the region."""
    x, y, width, height = (int(value) for value in found)
    left, top = area.x + round(x * to_x), area.y + round(y * to_y)
    right = min(area.x + round((x + width) * to_x), area.x + area.width)
    bottom = min(area.y + round((y + height) * to_y), area.y + area.height)
    return Box(left, top, right - left, bottom - top)


def load_cascade() -> Any:
    """Load OpenCV's cascade for frontal faces.

    Its XML file is in the wheel, or in Debian's package opencv-data. OpenCV 5 has neither the class nor the file.

    Raises:
        ModelError: If the class or the file is missing, or if the file is damaged.
    """
    if not hasattr(cv2, "CascadeClassifier"):
        instead = "pip install 'opencv-python-headless<5', or set detector.kind = \"yunet\""
        raise ModelError(f"OpenCV {cv2.__version__} has no CascadeClassifier: {instead}")
    data = getattr(cv2, "data", None)
    folders = [Path(data.haarcascades), _DEBIAN_CASCADES] if data else [_DEBIAN_CASCADES]
    for path in (folder / CASCADE_FILE for folder in folders):
        if path.is_file():
            cascade = cv2.CascadeClassifier(opencv_path(path))
            if cascade.empty():
                raise ModelError(f"{path}: not a readable Haar cascade; reinstall OpenCV")
            return cascade
    looked = " or ".join(str(folder) for folder in folders)
    raise ModelError(
        f"{CASCADE_FILE} not found in {looked}: pip install 'opencv-python-headless<5' or apt install opencv-data"
    )
