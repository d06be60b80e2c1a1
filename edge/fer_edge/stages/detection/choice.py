"""Choose the face detector by the settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fer_edge.settings.pipeline import DetectorSettings
from fer_edge.stages.detection.haar import HaarFaceDetector

if TYPE_CHECKING:
    from fer_edge.stages.detection.yunet import YuNetFaceDetector


def make_detector(settings: DetectorSettings) -> HaarFaceDetector | YuNetFaceDetector:
    """Load the detector ``settings.kind``.

    Raises:
        ModelError: If its file is missing or refused, or if this OpenCV does not support it.
    """
    if settings.kind != "yunet":
        return HaarFaceDetector(settings)
    from fer_edge.stages.detection.yunet import YuNetFaceDetector  # with hashlib, which loads OpenSSL

    return YuNetFaceDetector(settings)
