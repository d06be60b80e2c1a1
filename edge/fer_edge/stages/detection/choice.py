"""Make the detector that the settings name."""

from __future__ import annotations

from fer_edge.settings.runtime import DetectorSettings
from fer_edge.stages.detection.haar import HaarFaceDetector
from fer_edge.stages.detection.yunet import YuNetFaceDetector


def make_detector(settings: DetectorSettings) -> HaarFaceDetector | YuNetFaceDetector:
    """Load the detector of ``settings.kind``. Raises ModelError if its file or OpenCV's part of it is missing."""
    return YuNetFaceDetector(settings) if settings.kind == "yunet" else HaarFaceDetector(settings)
