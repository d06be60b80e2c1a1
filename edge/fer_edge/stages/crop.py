"""Cut a face out of a frame for the classifier.

Training, evaluation, benchmarks and the runtime all use this function, so that their crops cannot diverge.
"""

from __future__ import annotations

from fer_edge.images.resample import cut_out
from fer_edge.types import CropSpec, Face, FaceCrop, UInt8Array, check_gray


def crop_face(gray: UInt8Array, face: Face, spec: CropSpec) -> FaceCrop:
    """Cut ``face`` out of ``gray`` (uint8 [H, W]) and resample it to uint8 [spec.height, spec.width].

    Parts of the crop outside the frame are filled by repeating the frame's edge.

    Raises:
        InputError: If ``gray`` is not a 2-D uint8 array.
        ValueError: If the box is empty or lies outside the frame.

    >>> import numpy as np
    >>> from fer_edge import Box, EmotionClassifier, load_bundle
    >>> spec = EmotionClassifier(load_bundle()).crop_spec
    >>> gray = np.zeros((480, 640), np.uint8)
    >>> crop = crop_face(gray, Face(Box(200, 100, 80, 80), score=1.0), spec)
    >>> crop.pixels.shape == (spec.height, spec.width), crop.quality
    (True, 1.0)
    """
    check_gray(gray)
    box = face.box.grown(spec.margin)
    if box.area == 0:
        raise ValueError(f"face box {face.box} is empty")
    frame_height, frame_width = gray.shape
    inside = box.clipped(frame_width, frame_height)
    if inside.area == 0:
        raise ValueError(f"face box {face.box} lies outside the {frame_width}x{frame_height} frame")
    return FaceCrop(face, cut_out(gray, box, spec.height, spec.width), inside.area / box.area)
