"""Faces: detected, cropped, classified and tracked."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from fer_edge.types.arrays import Float32Array, UInt8Array
from fer_edge.types.geometry import Box

HAAR_MARGIN = 1.08
"""Side of the crop divided by the side of the Haar box. The box that the cascade finds in a FER2013 image has about
0.93 of the image's width."""


@dataclass(frozen=True, slots=True)
class Face:
    """A detected face.

    Attributes:
        box: Where it is, in pixels of the frame.
        score: The detector's score: higher is more certain. Its scale depends on the detector.

    >>> Face(Box(177, 66, 95, 95), score=12.5).box.centre
    (224.5, 113.5)
    """

    box: Box
    score: float


@dataclass(frozen=True, slots=True)
class CropSpec:
    """The crop that a model takes: ``height`` x ``width`` pixels that show ``margin`` times the side of the box.

    >>> CropSpec(height=48, width=48).margin == 1.0
    False
    """

    height: int
    width: int
    margin: float = HAAR_MARGIN


@dataclass(frozen=True, slots=True, eq=False)
class FaceCrop:
    """A face cut out for the classifier.

    Attributes:
        face: The face, in the frame.
        pixels: Grey pixels in the model's input size, uint8 [height, width].
        quality: Share of the crop that lies inside the frame, 0..1.

    >>> import numpy as np
    >>> crop = FaceCrop(Face(Box(0, 0, 40, 40), 5.0), np.full((48, 48), 128, np.uint8), quality=1.0)
    >>> crop.pixels.shape
    (48, 48)
    """

    face: Face
    pixels: UInt8Array
    quality: float


class CropFault(StrEnum):
    """Why a crop is not classified."""

    SMALL = "small"
    CUT = "cut"
    OVEREXPOSED = "overexposed"
    LOW_CONTRAST = "low_contrast"
    BLURRED = "blurred"
    NOISY = "noisy"


@dataclass(frozen=True, slots=True, eq=False)
class EmotionProbabilities:
    """Calibrated probabilities: ``values`` is float32 [labels] in the bundle's label order, and sums to 1.

    >>> import numpy as np
    >>> EmotionProbabilities(np.array([0.1, 0.7, 0.2], np.float32)).top
    1
    """

    values: Float32Array

    @property
    def top(self) -> int:
        """Index of the most probable label; the first one if several are equal."""
        return int(np.argmax(self.values))


@dataclass(frozen=True, slots=True)
class Track:
    """One face followed over time. All times are seconds of the source's clock.

    Attributes:
        track_id: Number of the track; unique within its source.
        box: Where the face is now: detected, or predicted in frames without a detection.
        last_seen: When the detector last found the face.
        confirmed: The face was detected often enough to be reported.
        face: What to classify: the detection, or the predicted face if the track was not searched for since. None if
            the last search did not find it.
        last_searched: When the track was last searched for, with or without success.
        last_located: When the position was last measured, by the detector or by template matching.
        found: The detector found the face in this frame.
        matched: Template matching found the face in this frame.
    """

    track_id: int
    box: Box
    last_seen: float
    confirmed: bool
    face: Face | None = None
    last_searched: float = -math.inf
    last_located: float = -math.inf
    found: bool = False
    matched: bool = False

    @property
    def lost(self) -> bool:
        """Whether the last search did not find the face."""
        return self.last_searched > self.last_seen

    @property
    def followed(self) -> bool:
        """Whether the track is confirmed and its position known, from the last search or from template matching."""
        return self.confirmed and (self.matched or not self.lost)


@dataclass(frozen=True, slots=True, eq=False)
class TrackReading:
    """A track and its smoothed ``probabilities``.

    These are None before the first classification, and while the track's crops are refused.
    """

    track: Track
    probabilities: EmotionProbabilities | None
