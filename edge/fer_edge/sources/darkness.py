"""Detect pictures that are too dark to find a face in."""

from __future__ import annotations

import numpy as np

from fer_edge.types import UInt8Array

_STEP = (8, 16)
"""Rows and columns between two sampled pixels."""
_MAX_LEVEL = 32
"""A brighter pixel counts as lit. Black is 16 in limited-range video."""
_MAX_LIT_SHARE = 0.01
"""Share of lit pixels in a dark picture: a status light, or a gap in a curtain."""
_MAX_SPREAD = 4.0
"""Standard deviation of a dark picture's pixels, grey levels: sensor noise, or a scene too dim for the detector. The
demo scene has 3.7 at a tenth of its light, where no face is found, and 4.6 at an eighth."""
NOISE_SPREAD = 2.0
"""Standard deviation, grey levels, of a picture that is only noise: raising its contrast does not help."""


def is_dark(gray: UInt8Array, max_spread: float = _MAX_SPREAD) -> bool:
    """Return whether ``gray``, uint8 [H, W], is too dark to show a face (night, or a covered lens); takes µs.

    With ``NOISE_SPREAD``, return whether raising its contrast would not help either.
    """
    samples = gray[:: _STEP[0], :: _STEP[1]]
    if np.count_nonzero(samples > _MAX_LEVEL) > _MAX_LIT_SHARE * samples.size:
        return False
    # Zeros are left out: masked zones are 0, and so is clipped sensor noise.
    noise = samples[(samples > 0) & (samples <= _MAX_LEVEL)]
    return noise.size == 0 or float(noise.std()) < max_spread
