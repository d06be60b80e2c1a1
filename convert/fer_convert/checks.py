"""Checks of a converted file: a converter can write a broken file without an error."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_bench import metrics
from fer_bench.onnx_model import SUFFIX, load_model
from fer_convert.export import onnx_translation, tflite
from fer_convert.export.variants import VariantSpec
from fer_edge.errors import ModelError
from fer_edge.model.interpreter import TensorModel
from fer_edge.model.manifest import VariantIO
from fer_edge.types import Float32Array

log = logging.getLogger(__name__)

_OVERHEAD = 48 * 1024
"""Maximum number of bytes in a file besides the weights: names, scales and the graph."""
_NEAR_CHANCE = 1.5
"""A model that answers at random may reach this multiple of chance accuracy on a small test."""
_ONE_LABEL = 0.9
"""A trained model does not give the same label to this share of real images."""
VARIABLE_OPERATORS = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}
"""Operators of a file without its weights: it loads, and returns NaN."""


def check_file(path: Path, spec: VariantSpec, size: tuple[int, int], labels: int, params: int) -> VariantIO:
    """Check operators, file size, shapes and quantization of a file.

    Args:
        path: The file.
        spec: Its variant.
        size: Height and width of the input in pixels.
        labels: Number of outputs.
        params: Number of weights; 0 skips the check of the file's size.

    Returns:
        The codecs of input and output.

    Raises:
        ModelError: If a check fails; the message says which.
    """
    _check_operators(spec, file_operators(path))
    if params:
        _check_size(spec, path.stat().st_size, params)
    model = load_model(path)
    try:
        return _check_tensors(spec, model, size, labels)
    finally:
        model.close()


def file_operators(path: Path) -> tuple[str, ...]:
    """Return the sorted names of the operators in a ``.tflite`` or ``.onnx`` file, as its format names them."""
    return onnx_translation.operators(path) if path.suffix == SUFFIX else tflite.operators(path)


def check_logits(spec: VariantSpec, logits: Float32Array, reference: Float32Array) -> float:
    """Compare the file's logits [N, labels] on real images with the Keras model's.

    Returns:
        The share of images with the same top label, 0..1.

    Raises:
        ModelError: If a logit is not finite, or the difference is too large.
    """
    if not np.isfinite(logits).all():
        raise ModelError(f"{spec.name}: returns NaN or infinity")
    agreement = metrics.agreement(logits, reference)
    if agreement < spec.min_agreement:
        raise ModelError(
            f"{spec.name}: agrees with Keras on only {agreement:.1%} of {len(logits)} images "
            f"(at least {spec.min_agreement:.1%} wanted){_why_they_differ(reference)}"
        )
    error = float(np.abs(logits - reference).max())
    if spec.max_logit_error is not None and error > spec.max_logit_error:
        raise ModelError(f"{spec.name}: a logit differs from Keras' by {error:.3g} (at most {spec.max_logit_error:g})")
    return agreement


def warn_near_chance(name: str, accuracy: float, truth: npt.NDArray[np.int64], labels: int) -> None:
    """Log a warning if ``accuracy`` on images with the labels ``truth`` [N] is near chance."""
    if accuracy <= most_by_chance(truth, labels):
        log.warning(
            "%s: this is near chance, %.0f %%; one label for every image would reach %.0f %%: check --labels and "
            "--input-range",
            name,
            100 / labels,
            100 * np.bincount(truth).max() / len(truth),
        )


def most_by_chance(truth: npt.NDArray[np.int64], labels: int) -> float:
    """Return the accuracy that a model can reach without looking at the images: random or constant answers."""
    return max(_NEAR_CHANCE / labels, float(np.bincount(truth).max()) / len(truth))


def _why_they_differ(reference: Float32Array) -> str:
    """Return a hint if the Keras model itself gives almost all images one label, else an empty string."""
    share = np.bincount(reference.argmax(axis=1)).max() / len(reference)
    if share < _ONE_LABEL:
        return ""
    return (
        f": Keras itself gives {share:.0%} of them one label, as an untrained network does, or one that takes pixels "
        "of another range"
    )


def _check_size(spec: VariantSpec, size: int, params: int) -> None:
    # A folded BatchNorm leaves one bias of its four weights, so the file may have fewer weights than the model.
    min_bytes = 0.8 * params * spec.weight_bytes
    if size < min_bytes:
        raise ModelError(f"{spec.name}: {size} bytes cannot hold {params} weights: some are missing")
    if spec.weight_bytes < 4 and size > 1.5 * params * spec.weight_bytes + _OVERHEAD:
        raise ModelError(f"{spec.name}: {size} bytes for {params} weights of {spec.weight_bytes}: they are wider")


def _check_operators(spec: VariantSpec, found: tuple[str, ...]) -> None:
    wrong = [name for name in found if name in VARIABLE_OPERATORS or name.startswith("CUSTOM:")]
    if wrong:
        raise ModelError(f"{spec.name}: contains {', '.join(wrong)}, which the device cannot run")


def _check_tensors(spec: VariantSpec, model: TensorModel, size: tuple[int, int], labels: int) -> VariantIO:
    given, result = model.input_details, model.output_details
    if given.shape != (1, *size, 1) or result.shape != (1, labels):
        raise ModelError(f"{spec.name}: is {given.shape} to {result.shape}, not {(1, *size, 1)} to {(1, labels)}")
    if (given.dtype, result.dtype) != (spec.input_dtype, spec.output_dtype):
        raise ModelError(
            f"{spec.name}: is {given.dtype} to {result.dtype}, not {spec.input_dtype} to {spec.output_dtype}"
        )
    # The scale is computed in float32, so it is 1 up to rounding.
    if spec.takes_pixels and (abs(given.scale - 1) > 1e-6 or given.zero_point != 0):
        raise ModelError(
            f"{spec.name}: input scale {given.scale:g} and zero point {given.zero_point} instead of 1 and 0: "
            "the representative data set does not span 0..255, or the model shifts its input"
        )
    input_scale = 1.0 if spec.takes_pixels else given.scale
    return VariantIO(
        spec.input_dtype, input_scale, given.zero_point, spec.output_dtype, result.scale, result.zero_point
    )
