"""Colour pictures for recordings and previews; the pipeline itself needs only grey ones."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from fer_edge.types import UInt8Array


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
