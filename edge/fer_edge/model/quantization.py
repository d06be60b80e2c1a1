"""Affine quantization of TFLite tensors, and softmax with temperature scaling.

``real = scale * (quantized - zero_point)``: https://ai.google.dev/edge/litert/models/quantization_spec
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_edge.types import Float32Array


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantization of one tensor.

    Attributes:
        dtype: Name of the NumPy type, such as ``"int8"``.
        scale: Step between two quantized values, > 0.
        zero_point: Quantized value of 0.
    """

    dtype: str
    scale: float
    zero_point: int

    def quantize(self, values: npt.ArrayLike) -> npt.NDArray[np.generic]:
        """Convert real values of any shape to ``dtype``: round half away from zero, then saturate."""
        info = np.iinfo(self.dtype)
        scaled = np.asarray(values, dtype=np.float64) / self.scale
        # TFLite's reference Quantize rounds half away from zero (std::round); NumPy's rint rounds half to even.
        rounded = np.trunc(scaled + np.copysign(0.5, scaled)) + self.zero_point
        clipped: npt.NDArray[np.generic] = np.clip(rounded, info.min, info.max).astype(self.dtype)
        return clipped

    def dequantize(self, values: npt.NDArray[np.generic]) -> Float32Array:
        """Convert values of ``dtype`` to float32 of the same shape."""
        shifted = np.asarray(values, dtype=np.float32) - np.float32(self.zero_point)
        return np.asarray(shifted * np.float32(self.scale), dtype=np.float32)


def softmax(logits: Float32Array, temperature: float = 1.0) -> Float32Array:
    """Return the softmax over the last axis of ``logits / temperature``, float32 [..., labels].

    Temperature scaling: Guo et al., 2017, arXiv:1706.04599, section 4. ``temperature`` is > 0.
    """
    scaled = np.asarray(logits, dtype=np.float32) / np.float32(temperature)
    exponentials = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True), dtype=np.float32)
