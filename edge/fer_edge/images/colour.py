"""Convert pictures to grey ones, which the pipeline processes, and to colour ones for recordings and previews."""

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


def kept_colour(image: npt.NDArray[Any]) -> UInt8Array | None:
    """Return ``image`` if it is BGR, uint8 [H, W, 3], else None."""
    return np.asarray(image, np.uint8) if image.ndim == 3 and image.shape[2] == 3 else None


def yuv420_to_bgr(data: UInt8Array, width: int, height: int, stride: int, conversion: int) -> UInt8Array | None:
    """Convert a YUV 4:2:0 buffer, uint8 [bytes], to BGR, uint8 [height, width, 3].

    Args:
        data: Y plane, then the chroma planes, without gaps.
        width, height: Size in pixels.
        stride: Bytes per row of the Y plane; those of planar chroma have half of it.
        conversion: OpenCV's code, such as ``cv2.COLOR_YUV2BGR_I420`` or ``cv2.COLOR_YUV2BGR_NV12``.

    Returns:
        None if the sides are odd, or bytes are missing.
    """
    rows = height * 3 // 2
    if width % 2 or height % 2 or stride % 2 or stride < width or data.size < rows * stride:
        return None
    picture = cv2.cvtColor(data[: rows * stride].reshape(rows, stride), conversion)
    return np.asarray(picture[:, :width], np.uint8)


def with_luma(bgr: UInt8Array, gray: UInt8Array) -> UInt8Array:
    """Return ``bgr`` with the brightness of ``gray``, so that it shows what the pipeline sees."""
    ycrcb = cv2.cvtColor(bgr, cv2.COLOR_BGR2YCrCb)
    ycrcb[..., 0] = gray
    return np.asarray(cv2.cvtColor(ycrcb, cv2.COLOR_YCrCb2BGR), np.uint8)
