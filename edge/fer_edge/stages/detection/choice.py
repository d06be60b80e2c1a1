"""Choose the face detector by the settings."""

from __future__ import annotations

from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.stages.detection.yunet import YuNetFaceDetector


def make_detector(settings: DetectorSettings) -> HaarFaceDetector | YuNetFaceDetector:
    """Load the detector ``settings.kind``.

    Raises:
        ModelError: If its file is missing or refused, or if this OpenCV does not support it.
    """
    return YuNetFaceDetector(settings) if settings.kind == "yunet" else HaarFaceDetector(settings)
