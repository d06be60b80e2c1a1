"""Array types, and the checks that public functions make on images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from fer_edge.errors import InputError

UInt8Array = npt.NDArray[np.uint8]
Float32Array = npt.NDArray[np.float32]
Float64Array = npt.NDArray[np.float64]


def check_gray(pixels: object) -> None:
    """Check that ``pixels`` is a grey image: uint8 [H, W], not empty.

    Raises:
        InputError: If it is anything else.
    """
    if not isinstance(pixels, np.ndarray) or pixels.ndim != 2 or pixels.dtype != np.uint8 or pixels.size == 0:
        raise InputError(
            f"a grey image must be uint8 [H, W], not {describe_type(pixels)}; convert with fer_edge.to_gray"
        )


def check_colour(pixels: object, gray: UInt8Array) -> None:
    """Check that ``pixels`` is a colour image of the size of ``gray``, uint8 [H, W, 3].

    Raises:
        InputError: If it is anything else.
    """
    if not isinstance(pixels, np.ndarray) or pixels.dtype != np.uint8 or pixels.shape != (*gray.shape, 3):
        raise InputError(f"the colour image must be uint8 {[*gray.shape, 3]} (BGR), not {describe_type(pixels)}")


def describe_type(value: object) -> str:
    """Return what ``value`` is, for an error message: ``float64 [480, 640]`` for an array, else its type's name."""
    return f"{value.dtype} {list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__
