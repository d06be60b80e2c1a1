"""Cut out and resample grey images. All pixels that a detector or network receives are interpolated here."""

from __future__ import annotations

import cv2
import numpy as np

from fer_edge.types import Box, UInt8Array


def resample(gray: UInt8Array, height: int, width: int, out: UInt8Array | None = None) -> UInt8Array:
    """Resize ``gray``, uint8 [H, W], to [height, width]: area averaging to shrink a side, bilinear to enlarge one.

    Args:
        gray: The image. If it already has the size, it is returned unchanged (copied only if it is not contiguous).
        height: New height in pixels.
        width: New width in pixels.
        out: Buffer for the result, contiguous uint8 [height, width]; not used for an image of that size.
    """
    if gray.shape == (height, width):
        return np.ascontiguousarray(gray)
    # In turn: OpenCV 4.11 for aarch64 extrapolates at the left edge if one side shrinks while the other grows.
    smaller = min(gray.shape[0], height), min(gray.shape[1], width)
    for size, method in ((smaller, cv2.INTER_AREA), ((height, width), cv2.INTER_LINEAR)):
        if gray.shape != size:
            into = out if size == (height, width) else None
            gray = np.asarray(cv2.resize(gray, size[::-1], dst=into, interpolation=method), dtype=np.uint8)
    return gray


def cut_out(gray: UInt8Array, box: Box, height: int, width: int) -> UInt8Array:
    """Return the part of ``gray`` (uint8 [H, W]) in ``box``, resampled to uint8 [height, width].

    Parts of ``box`` outside the image are filled by repeating the image's edge. ``box`` must overlap the image.
    """
    frame_height, frame_width = gray.shape
    inside = box.clipped(frame_width, frame_height)
    patch = gray[inside.y : inside.y + inside.height, inside.x : inside.x + inside.width]
    if inside != box:
        top, left = inside.y - box.y, inside.x - box.x
        bottom, right = box.height - inside.height - top, box.width - inside.width - left
        patch = np.asarray(cv2.copyMakeBorder(patch, top, bottom, left, right, cv2.BORDER_REPLICATE), dtype=np.uint8)
    return resample(patch, height, width)
