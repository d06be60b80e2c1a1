"""The variants a bundle may hold: names, what each quantizes, and how its converter is set. One place, one vocabulary.

Adding a variant is adding an entry to ``VARIANTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_edge.errors import InputError
from fer_edge.types import UInt8Array


@dataclass(frozen=True, slots=True)
class VariantSpec:
    """One way to export a model: its manifest key, a sentence, its tensor dtypes and its converter settings.

    ``quantized_input`` demands scale 1 and zero point 0, so that raw pixels go in as they are; ``int8_weights`` has
    the first convolution's weights rounded together (``fer_convert.rounding``); ``min_agreement`` is the least share
    of real images on which its top label must equal the Keras model's, and ``max_logit_error`` the largest
    difference of a logit (None where rounding makes one meaningless).
    """

    name: str
    summary: str
    input_dtype: str
    output_dtype: str
    quantized_input: bool
    int8_weights: bool
    min_agreement: float
    max_logit_error: float | None
    configure: Callable[[Any, UInt8Array], None]


def _float32(converter: Any, calibration: UInt8Array) -> None:
    """The converter's defaults."""


def _int8(converter: Any, calibration: UInt8Array) -> None:
    import tensorflow as tf

    def representative_dataset() -> Iterator[list[Any]]:
        for image in calibration:
            yield [image[np.newaxis, :, :, np.newaxis].astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8


VARIANTS: dict[str, VariantSpec] = {
    spec.name: spec
    for spec in (
        VariantSpec(
            "float32",
            "weights and arithmetic in float32; float32 pixels 0..255 in, float32 logits out",
            "float32",
            "float32",
            False,
            False,
            0.999,
            1e-2,
            _float32,
        ),
        VariantSpec(
            "int8",
            "weights (per channel), activations and arithmetic in 8-bit integers; uint8 pixels in, int8 logits out",
            "uint8",
            "int8",
            True,
            True,
            # An honest int8 export keeps about 97 % of the labels; a broken one is near chance. The cost
            # in accuracy is for the benchmark to judge.
            0.85,
            None,
            _int8,
        ),
    )
}
DEFAULT_VARIANTS = tuple(VARIANTS)


def check_variants(names: Sequence[str]) -> None:
    """Raises InputError, naming those there are, for a variant that is not in ``VARIANTS``, or for none."""
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or not names:
        raise InputError(f"unknown variant {', '.join(unknown) or '(none given)'}; there are {', '.join(VARIANTS)}")
