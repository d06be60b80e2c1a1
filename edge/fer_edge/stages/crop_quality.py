"""Whether a crop is good enough to be classified; edge/README.md has the evidence for the measures and their limits."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from fer_edge.settings.runtime import QualitySettings
from fer_edge.types import CropFault, FaceCrop, Float32Array

OVEREXPOSED = 247
"""Grey level from which a pixel counts as burnt out; interpolation leaves few at 255."""


@dataclass(frozen=True, slots=True)
class CropQuality:
    """What is measured of a crop.

    ``face_px`` is the smaller side of the face's box in pixels of the frame, ``inside`` the share of the crop that lies
    in the frame, ``contrast`` the standard deviation of its pixels in grey levels, and ``overexposed`` the share of
    pixels that are burnt out. ``sharpness`` is the root mean square of second differences over that of first
    differences, along rows or along columns, whichever is less, as motion blurs one of them only: Hjorth's mobility
    (1970) of the first differences. It is low where detail is coarse, 1.73 for white noise, and the same at any
    brightness and contrast; a flat crop has 0.
    """

    face_px: int
    inside: float
    contrast: float
    overexposed: float
    sharpness: float


def measure(crop: FaceCrop) -> CropQuality:
    """The quality of a crop."""
    pixels = crop.pixels
    return CropQuality(
        face_px=min(crop.face.box.width, crop.face.box.height),
        inside=crop.quality,
        contrast=float(cv2.meanStdDev(pixels)[1][0, 0]),
        overexposed=float(np.count_nonzero(pixels >= OVEREXPOSED) / pixels.size),
        sharpness=_sharpness(pixels.astype(np.float32)),
    )


def find_fault(quality: CropQuality, settings: QualitySettings) -> CropFault | None:
    """The first reason for which a crop of this ``quality`` should not be classified; None when there is none."""
    faults = (
        (CropFault.SMALL, quality.face_px < settings.min_face_px),
        (CropFault.CUT, quality.inside < settings.min_inside),
        (CropFault.OVEREXPOSED, quality.overexposed > settings.max_overexposed),
        (CropFault.LOW_CONTRAST, quality.contrast < settings.min_contrast),
        (CropFault.BLURRED, quality.sharpness < settings.min_sharpness),
        (CropFault.NOISY, quality.sharpness > settings.max_sharpness),
    )
    return next((fault for fault, found in faults if found), None)


def _sharpness(pixels: Float32Array) -> float:
    # Slices, not numpy.diff, which takes as long again for arrays as small as these.
    slope = pixels[1:] - pixels[:-1]
    down = _mobility(slope, slope[1:] - slope[:-1])
    slope = pixels[:, 1:] - pixels[:, :-1]
    return min(down, _mobility(slope, slope[:, 1:] - slope[:, :-1]))


def _mobility(slope: Float32Array, curve: Float32Array) -> float:
    energy = float(np.vdot(slope, slope))
    return math.sqrt(float(np.vdot(curve, curve)) / energy) if energy > 0 else 0.0
