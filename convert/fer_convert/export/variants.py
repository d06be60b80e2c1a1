"""The variants of a bundle: names, number formats, and how each is exported.

To add a variant, add an entry to ``VARIANTS``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fer_edge.errors import InputError
from fer_edge.model.manifest import Dtype
from fer_edge.types import UInt8Array


def _no_options(converter: Any, calibration: UInt8Array) -> None:
    """Leave the converter's defaults unchanged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VariantSpec:
    """One way to export a model.

    Attributes:
        name: Key in the manifest.
        summary: Description in the manifest.
        input_dtype: Type of the input tensor.
        output_dtype: Type of the output tensor.
        weight_bytes: Bytes of a weight in the file.
        joint_rounding: Round the first convolution's weights jointly (``fer_convert.quantization.rounding``).
        min_agreement: Minimum share of real images with the Keras model's top label.
        max_logit_error: Maximum difference of a logit from the Keras model's; None if rounding makes it meaningless.
        configure: Sets the options of TensorFlow's converter.
        onnx_of: Variant whose ``.tflite`` file is translated to ONNX; None for a ``.tflite`` variant.
    """

    name: str
    summary: str
    input_dtype: Dtype = "float32"
    output_dtype: Dtype = "float32"
    weight_bytes: int
    joint_rounding: bool = False
    min_agreement: float
    max_logit_error: float | None = None
    configure: Callable[[Any, UInt8Array], None] = _no_options
    onnx_of: str | None = None

    @property
    def file(self) -> str:
        """Name of the file in a bundle."""
        return f"{self.name}.tflite" if self.onnx_of is None else f"{self.name}.onnx"

    @property
    def takes_pixels(self) -> bool:
        """Whether the input takes uint8 pixels unchanged, which requires scale 1 and zero point 0."""
        return self.input_dtype == "uint8"


def _float16(converter: Any, calibration: UInt8Array) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.target_spec.supported_types = [tf.float16]


def _dynamic(converter: Any, calibration: UInt8Array) -> None:
    import tensorflow as tf

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    # A scale for each row of a dense layer needs FULLY_CONNECTED version 12, which tflite-runtime 2.14 lacks.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True


def _int8(converter: Any, calibration: UInt8Array) -> None:
    import tensorflow as tf

    _calibrated(converter, calibration, tf.lite.OpsSet.TFLITE_BUILTINS_INT8)
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8


def _int16x8(converter: Any, calibration: UInt8Array) -> None:
    import tensorflow as tf

    operators = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    _calibrated(converter, calibration, operators)


def _calibrated(converter: Any, calibration: UInt8Array, operators: Any) -> None:
    import tensorflow as tf

    def representative_dataset() -> Iterator[list[Any]]:
        for image in calibration:
            yield [image[np.newaxis, :, :, np.newaxis].astype(np.float32)]

    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative_dataset
    converter.target_spec.supported_ops = [operators]


# The minimum agreements detect broken exports, which are near chance. An intact int8 export keeps about 97 % of the
# labels; `fer-edge bench accuracy` measures what quantization costs.
VARIANTS: dict[str, VariantSpec] = {
    spec.name: spec
    for spec in (
        VariantSpec(
            name="float32",
            summary="weights and arithmetic in float32; float32 pixels 0..255 in, float32 logits out",
            weight_bytes=4,
            min_agreement=0.999,
            max_logit_error=1e-2,
        ),
        VariantSpec(
            name="float16",
            summary="weights stored as float16, arithmetic in float32; float32 pixels 0..255 in, float32 logits out",
            weight_bytes=2,
            min_agreement=0.95,
            max_logit_error=0.2,
            configure=_float16,
        ),
        VariantSpec(
            name="dynamic",
            summary="weights of all but the smallest tensors in 8-bit integers, activations quantized anew for each "
            "image by their own range, the rest in float32; float32 pixels 0..255 in, float32 logits out",
            weight_bytes=1,
            min_agreement=0.85,
            configure=_dynamic,
        ),
        VariantSpec(
            name="int8",
            summary="weights (per channel), activations and arithmetic in 8-bit integers; uint8 pixels in, "
            "int8 logits out",
            input_dtype="uint8",
            output_dtype="int8",
            weight_bytes=1,
            joint_rounding=True,
            min_agreement=0.85,
            configure=_int8,
        ),
        VariantSpec(
            name="int16x8",
            summary="weights (per channel) in 8-bit integers, activations in 16-bit ones; float32 pixels 0..255 in, "
            "float32 logits out",
            weight_bytes=1,
            joint_rounding=True,
            min_agreement=0.85,
            configure=_int16x8,
        ),
        VariantSpec(
            name="onnx_float32",
            summary="ONNX, float32 translated: weights and arithmetic in float32; float32 pixels 0..255 in, "
            "float32 logits out",
            weight_bytes=4,
            min_agreement=0.999,
            max_logit_error=1e-2,
            onnx_of="float32",
        ),
        VariantSpec(
            name="onnx_int8",
            summary="ONNX, int8 translated to a graph of QuantizeLinear and DequantizeLinear (QDQ): the same 8-bit "
            "weights and scales; uint8 pixels in, int8 logits out",
            input_dtype="uint8",
            output_dtype="int8",
            weight_bytes=1,
            min_agreement=0.85,
            onnx_of="int8",
        ),
    )
}
DEFAULT_VARIANTS = ("float32", "int8")


def check_variants(names: Sequence[str]) -> None:
    """Raise InputError if ``names`` is empty or has a name that is not in ``VARIANTS``; the message lists them."""
    unknown = [name for name in names if name not in VARIANTS]
    if unknown or not names:
        raise InputError(f"unknown variant {', '.join(unknown) or '(none given)'}; there are {', '.join(VARIANTS)}")
