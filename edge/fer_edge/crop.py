"""The one place that turns a face box into the model's grey crop.

Runtime, evaluation and every benchmark call it, so a skew between training and serving cannot creep in.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from fer_edge.types import Box, Face, FaceCrop, UInt8Array, check_gray

HAAR_MARGIN = 1.08
"""Side of the crop over side of the Haar box: the cascade's box is about 0.93 of a FER2013 crop's width."""


@dataclass(frozen=True, slots=True)
class CropSpec:
    """What the model wants: ``height`` x ``width`` pixels (from the manifest), ``margin`` times the box's side."""

    height: int
    width: int
    margin: float = HAAR_MARGIN


def crop_face(gray: UInt8Array, face: Face, spec: CropSpec) -> FaceCrop:
    """Cut ``face`` out of ``gray`` (uint8 [H, W]) and resample it to uint8 [spec.height, spec.width].

    Parts of the crop outside the frame repeat the frame's edge. Raises ValueError for an empty box, InputError for
    what is no grey picture.
    """
    check_gray(gray)
    box = face.box.grown(spec.margin)
    if box.area == 0:
        raise ValueError(f"face box {face.box} is empty")
    frame_height, frame_width = gray.shape
    inside = box.clipped(frame_width, frame_height)
    if inside.area == 0:
        raise ValueError(f"face box {face.box} lies outside the {frame_width}x{frame_height} frame")
    patch = gray[inside.y : inside.y + inside.height, inside.x : inside.x + inside.width]
    if inside != box:
        patch = _pad(patch, inside, box)
    return FaceCrop(face, resample(patch, spec.height, spec.width), inside.area / box.area)


def resample(gray: UInt8Array, height: int, width: int, out: UInt8Array | None = None) -> UInt8Array:
    """Resize uint8 [H, W] to [height, width]: area averaging to shrink, bilinear to enlarge; a no-op at equal size.

    ``out``, a contiguous uint8 [height, width], takes the result where one has to be computed.
    """
    if gray.shape == (height, width):
        return np.ascontiguousarray(gray)
    shrinking = gray.shape[0] >= height and gray.shape[1] >= width
    method = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(gray, (width, height), dst=out, interpolation=method), dtype=np.uint8)


def _pad(patch: UInt8Array, inside: Box, wanted: Box) -> UInt8Array:
    top, left = inside.y - wanted.y, inside.x - wanted.x
    bottom = wanted.height - inside.height - top
    right = wanted.width - inside.width - left
    padded = cv2.copyMakeBorder(patch, top, bottom, left, right, cv2.BORDER_REPLICATE)
    return np.asarray(padded, dtype=np.uint8)
