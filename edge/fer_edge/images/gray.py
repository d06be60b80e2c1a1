"""Convert images of other programs to the grey images that the pipeline processes."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError
from fer_edge.types import UInt8Array, describe_type


def to_gray(picture: npt.NDArray[Any]) -> UInt8Array:
    """Convert an image to grey, with the weights of ITU-R BT.601 (as OpenCV does).

    Args:
        picture: uint8, grey [H, W] or BGR [H, W, 3] (OpenCV's order). Convert RGB with ``picture[..., ::-1]``.

    Returns:
        uint8 [H, W]. A grey image is returned unchanged, not copied.

    Raises:
        InputError: If ``picture`` is anything else, such as an array of floats, an empty array, or the None that
            ``cv2.imread`` returns for a file that it cannot read.

    >>> import numpy as np
    >>> blue = np.zeros((2, 3, 3), np.uint8)
    >>> blue[..., 0] = 255
    >>> to_gray(blue).tolist()
    [[29, 29, 29], [29, 29, 29]]
    """
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.size > 0:
        if picture.ndim == 2:
            return picture
        if picture.ndim == 3 and picture.shape[2] == 3:
            return np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
    raise InputError(f"an image must be uint8, grey [H, W] or BGR [H, W, 3], not {describe_type(picture)}")
