"""Detect and classify the faces of single images, without tracking."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy.typing as npt

from fer_edge.images.colour import to_gray
from fer_edge.model.bundle import ModelBundle
from fer_edge.settings.runtime import RuntimeSettings
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.stages.crop import crop_face
from fer_edge.stages.crop_quality import find_fault, measure
from fer_edge.stages.detection.choice import make_detector
from fer_edge.stages.schedule.tiles import DetectorProfile, sweep_tiles
from fer_edge.system.closing import Closing
from fer_edge.types import Box, CropFault, EmotionProbabilities, Face, UInt8Array, check_gray


@dataclass(frozen=True, slots=True, eq=False)
class FaceReading:
    """One face of an image, classified.

    Attributes:
        face: The face, in pixels of the image.
        probabilities: Probability of each label.
        labels: Names of the labels, in the same order.
        fault: Why the probabilities are unreliable; None if they are not.

    >>> import numpy as np
    >>> from fer_edge import Box, EmotionProbabilities, Face
    >>> face, probabilities = Face(Box(0, 0, 48, 48), 9.0), EmotionProbabilities(np.array([0.25, 0.75], np.float32))
    >>> reading = FaceReading(face, probabilities, labels=("angry", "happy"))
    >>> reading.emotion, reading.by_label()
    ('happy', {'angry': 0.25, 'happy': 0.75})
    """

    face: Face
    probabilities: EmotionProbabilities
    labels: tuple[str, ...]
    fault: CropFault | None = None

    @property
    def box(self) -> Box:
        """Box of the face, in pixels of the image."""
        return self.face.box

    @property
    def emotion(self) -> str:
        """The most probable label."""
        return self.labels[self.probabilities.top]

    @property
    def confidence(self) -> float:
        """Probability of ``emotion``, 0..1."""
        return float(self.probabilities.values[self.probabilities.top])

    def by_label(self) -> dict[str, float]:
        """Return the probability of each label, 0..1."""
        return {label: float(value) for label, value in zip(self.labels, self.probabilities.values, strict=True)}


class StillFaceFinder:
    """Detector for single images, which searches more thoroughly than the pipeline does. Not thread-safe."""

    def __init__(self, settings: RuntimeSettings | None = None) -> None:
        """Load the detector that the settings name.

        Raises:
            ModelError: If its file is missing or refused.
        """
        self._settings = (settings or RuntimeSettings()).for_still()
        self._detector = make_detector(self._settings.detector)

    def find(self, gray: UInt8Array) -> list[Face]:
        """Return the faces in ``gray``, uint8 [H, W], by descending score.

        Raises:
            InputError: If ``gray`` is not a 2-D uint8 array.
        """
        check_gray(gray)
        height, width = gray.shape
        (search,) = sweep_tiles((width, height), self._settings.schedule, DetectorProfile.of(self._settings.detector))
        return self._detector.detect(gray, search)


class FaceReader(Closing):
    """Detect and classify every face of an image, as ``fer-edge predict`` does. Not thread-safe.

    >>> import cv2
    >>> from importlib.resources import files
    >>> from fer_edge import load_bundle
    >>> with FaceReader(load_bundle()) as reader:
    ...     (face,) = reader.read(cv2.imread(str(files("fer_edge") / "assets" / "astronaut.jpg")))
    >>> face.emotion
    'happy'
    """

    def __init__(
        self, bundle: ModelBundle, settings: RuntimeSettings | None = None, variant: str | None = None
    ) -> None:
        """Load the detector and the classifier.

        Args:
            bundle: May be closed afterwards.
            settings: None for the defaults.
            variant: Name of the bundle's variant; None for the one in the settings.

        Raises:
            ModelError: If the detector or the variant is refused.
        """
        settings = settings or RuntimeSettings()
        self._settings = settings.for_still()
        self._classifier = EmotionClassifier.from_settings(bundle, settings.model, variant)
        self._faces = StillFaceFinder(settings)

    def read(self, picture: npt.NDArray[Any]) -> tuple[FaceReading, ...]:
        """Return the faces in ``picture``, uint8 grey [H, W] or BGR [H, W, 3] (OpenCV's order), from left to right.

        Crops that the pipeline would refuse are classified as well; their ``fault`` is set.

        Raises:
            InputError: If ``picture`` is not such an array.
        """
        gray = to_gray(picture)
        faces = self._faces.find(gray)
        return tuple(self._read(gray, face) for face in sorted(faces, key=lambda face: (face.box.x, face.box.y)))

    def close(self) -> None:
        """Release the model. Idempotent."""
        self._classifier.close()

    def _read(self, gray: UInt8Array, face: Face) -> FaceReading:
        crop = crop_face(gray, face, self._classifier.crop_spec)
        fault = find_fault(measure(crop), self._settings.quality)
        return FaceReading(face, self._classifier.classify(crop), self._classifier.labels, fault)
