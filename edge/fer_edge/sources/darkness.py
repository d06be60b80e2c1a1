"""Whether there is light enough in a picture to see anything."""

from __future__ import annotations

import numpy as np

from fer_edge.types import UInt8Array

_STEP = (8, 16)
"""Every so many rows, and pixels of them, are counted."""
_MAX_LEVEL = 32
"""Grey level above which a pixel has light; limited-range video has its black at 16."""
_MAX_LIT_SHARE = 0.01
"""A status light or a gap in a curtain makes no day."""
_MAX_SPREAD = 4.0
"""Standard deviation, grey levels, of a dark picture's pixels: a sensor's noise, or a scene too dim for the detector.
The demo's scene has 3.7 at a tenth of its light, where no face is found in it, and 4.6 at an eighth."""
_MAX_EMPTY_SPREAD = 2.0
"""The same of a picture that holds noise alone, so that no contrast helps."""


def is_dark(gray: UInt8Array) -> bool:
    """Whether nothing can be seen in a picture, uint8 [H, W]: night, or a covered lens. Takes some microseconds."""
    return _is_dim(gray, _MAX_SPREAD)


def is_empty(gray: UInt8Array) -> bool:
    """Whether a picture, uint8 [H, W], is dark and would be with more contrast too."""
    return _is_dim(gray, _MAX_EMPTY_SPREAD)


def _is_dim(gray: UInt8Array, max_spread: float) -> bool:
    samples = gray[:: _STEP[0], :: _STEP[1]]
    if np.count_nonzero(samples > _MAX_LEVEL) > _MAX_LIT_SHARE * samples.size:
        return False
    # Masked zones are 0, and so is a sensor's clipped noise.
    noise = samples[(samples > 0) & (samples <= _MAX_LEVEL)]
    return noise.size == 0 or float(noise.std()) < max_spread
