"""Pictures as other programs have them, turned into the grey ones that everything here works on."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.types import UInt8Array, described


def to_gray(picture: npt.NDArray[Any]) -> UInt8Array:
    """``picture``, uint8 grey [H, W] or BGR [H, W, 3] (OpenCV's order), as uint8 [H, W]; grey comes back as it is.

    RGB is ``picture[..., ::-1]``. Raises InputError for anything else, such as floats, an empty array, or the None
    that ``cv2.imread`` gives for a file that it cannot read.
    """
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.size > 0:
        if picture.ndim == 2:
            return picture
        if picture.ndim == 3 and picture.shape[2] == 3:
            return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    raise InputError(f"a picture must be uint8, grey [H, W] or BGR [H, W, 3], not {described(picture)}")
