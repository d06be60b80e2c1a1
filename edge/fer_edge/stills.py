"""Every face of single pictures, with no frame before or after to go by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from fer_edge.images.gray import to_gray
from fer_edge.model.bundle import ModelBundle
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.crop import crop_face
from fer_edge.stages.crop_quality import find_fault, measure
from fer_edge.stages.detection.choice import make_detector
from fer_edge.stages.schedule import Reach, sweep_tiles
from fer_edge.system.closing import Closing
from fer_edge.types import Box, CropFault, EmotionProbabilities, Face, UInt8Array, check_gray


@dataclass(frozen=True, slots=True, eq=False)
class FaceReading:
    """One face of a picture and what the classifier says of it.

    ``labels`` name the probabilities. ``fault`` is why they should not be relied on, None where nothing is wrong.
    """

    face: Face
    probabilities: EmotionProbabilities
    labels: tuple[str, ...]
    fault: CropFault | None = None

    @property
    def box(self) -> Box:
        """Where the face is, in pixels of the picture."""
        return self.face.box

    @property
    def emotion(self) -> str:
        """The likeliest label."""
        return self.labels[self.probabilities.top]

    @property
    def confidence(self) -> float:
        """Its probability, 0..1."""
        return float(self.probabilities.values[self.probabilities.top])

    def by_label(self) -> dict[str, float]:
        """Each label's probability, 0..1."""
        return {label: float(value) for label, value in zip(self.labels, self.probabilities.values, strict=True)}


class StillFaceFinder:
    """Finds the faces of a single picture, as carefully as the whole of one can be searched. Not for two threads."""

    def __init__(self, settings: RuntimeSettings | None = None) -> None:
        """Load the detector that the settings name. Raises ModelError when its file is missing or refused."""
        self._settings = (settings or RuntimeSettings()).for_still()
        self._detector = make_detector(self._settings.detector)

    def find(self, gray: UInt8Array) -> list[Face]:
        """The faces of ``gray``, uint8 [H, W], surest first. Raises InputError for what is no such picture."""
        check_gray(gray)
        height, width = gray.shape
        (search,) = sweep_tiles((width, height), self._settings.schedule, Reach.of(self._settings.detector))
        return self._detector.detect(gray, search)


class FaceReader(Closing):
    """Finds and classifies every face of a picture, as ``fer-edge predict`` does. Not for two threads at once."""

    def __init__(
        self, bundle: ModelBundle, settings: RuntimeSettings | None = None, variant: str | None = None
    ) -> None:
        """Load the settings' detector and a bundle's ``variant`` (default: that of the settings).

        Raises ModelError when either is refused. The bundle may be closed afterwards.
        """
        settings = settings or RuntimeSettings()
        self._settings = settings.for_still()
        self._classifier = EmotionClassifier.from_settings(bundle, settings.model, variant)
        self._faces = StillFaceFinder(settings)

    def read(self, picture: npt.NDArray[Any]) -> tuple[FaceReading, ...]:
        """The faces of ``picture``, uint8 grey [H, W] or BGR [H, W, 3] (OpenCV's order), from left to right.

        A crop that a stream would wait to see better is read too, and its fault told: no other picture comes.
        Raises InputError for anything but such a picture.
        """
        gray = to_gray(picture)
        faces = self._faces.find(gray)
        return tuple(self._read(gray, face) for face in sorted(faces, key=lambda face: (face.box.x, face.box.y)))

    def close(self) -> None:
        """Release the model; may be called twice."""
        self._classifier.close()

    def _read(self, gray: UInt8Array, face: Face) -> FaceReading:
        crop = crop_face(gray, face, self._classifier.crop_spec)
        fault = find_fault(measure(crop), self._settings.quality)
        return FaceReading(face, self._classifier.classify(crop), self._classifier.labels, fault)
