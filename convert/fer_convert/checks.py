"""What a converted file must prove before it is kept: a conversion can fail without saying so."""

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
"""Bytes that a file may take beside its weights: names, scales and the graph."""
_NEAR_CHANCE = 1.5
"""A model that answers at random may have so many times the accuracy of chance on a small test."""
_ONE_LABEL = 0.9
"""A share of real images that no model gives one label which has learned."""
VARIABLE_OPERATORS = {"VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE"}
"""Marks of a file whose weights were left out: it loads, and answers NaN."""


def check_file(path: Path, spec: VariantSpec, size: tuple[int, int], labels: int, params: int) -> VariantIO:
    """Check operators, file size, shapes and quantization; ``size`` is (height, width). Returns the tensors' codecs.

    With ``params`` 0 the size is not checked. Raises ModelError saying which check failed.
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
    """Names of the operators of a ``.tflite`` or ``.onnx`` file, each by its own format's names, once, sorted."""
    return onnx_translation.operators(path) if path.suffix == SUFFIX else tflite.operators(path)


def check_logits(spec: VariantSpec, logits: Float32Array, reference: Float32Array) -> float:
    """Compare the file's logits [N, labels] on real images with Keras'. Returns their agreement on the top label, 0..1.

    Raises ModelError when they are not finite or too far apart.
    """
    if not np.isfinite(logits).all():
        raise ModelError(f"{spec.name}: answers NaN or infinity")
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
    """Log a warning if ``accuracy`` on images with the labels ``truth`` [N] is that of a model that sees nothing."""
    if accuracy <= most_by_chance(truth, labels):
        log.warning(
            "%s: that is near chance, %.0f %%; one label for every image would reach %.0f %%: see whether --labels "
            "and --input-range are right",
            name,
            100 / labels,
            100 * np.bincount(truth).max() / len(truth),
        )


def most_by_chance(truth: npt.NDArray[np.int64], labels: int) -> float:
    """Share of ``truth`` [N] that a model may name rightly that sees nothing: at random, or always the same label."""
    return max(_NEAR_CHANCE / labels, float(np.bincount(truth).max()) / len(truth))


def _why_they_differ(reference: Float32Array) -> str:
    """What Keras' own logits give away of a model whose answers no rounding leaves as they were."""
    share = np.bincount(reference.argmax(axis=1)).max() / len(reference)
    if share < _ONE_LABEL:
        return ""
    return (
        f": Keras itself gives {share:.0%} of them one label, as a network does that has not learned or takes pixels "
        "in another range"
    )


def _check_size(spec: VariantSpec, size: int, params: int) -> None:
    # A folded BatchNorm leaves one bias of its four weights, so a little less than all of them may do.
    least = 0.8 * params * spec.weight_bytes
    if size < least:
        raise ModelError(f"{spec.name}: {size} bytes cannot hold {params} weights: some are missing")
    if spec.weight_bytes < 4 and size > 1.5 * params * spec.weight_bytes + _OVERHEAD:
        raise ModelError(f"{spec.name}: {size} bytes for {params} weights of {spec.weight_bytes}: they are wider")


def _check_operators(spec: VariantSpec, found: tuple[str, ...]) -> None:
    wrong = [name for name in found if name in VARIABLE_OPERATORS or name.startswith("CUSTOM:")]
    if wrong:
        raise ModelError(f"{spec.name}: holds {', '.join(wrong)}, which the device cannot run")


def _check_tensors(spec: VariantSpec, model: TensorModel, size: tuple[int, int], labels: int) -> VariantIO:
    given, result = model.input_details, model.output_details
    if given.shape != (1, *size, 1) or result.shape != (1, labels):
        raise ModelError(f"{spec.name}: is {given.shape} to {result.shape}, not {(1, *size, 1)} to {(1, labels)}")
    if (given.dtype, result.dtype) != (spec.input_dtype, spec.output_dtype):
        raise ModelError(
            f"{spec.name}: is {given.dtype} to {result.dtype}, not {spec.input_dtype} to {spec.output_dtype}"
        )
    # The scale comes out of float32 arithmetic: 1 within rounding is 1.
    if spec.takes_pixels and (abs(given.scale - 1) > 1e-6 or given.zero_point != 0):
        raise ModelError(
            f"{spec.name}: input scale {given.scale:g} and zero point {given.zero_point} instead of 1 and 0: "
            "the representative data set does not span 0..255, or the model shifts its input"
        )
    input_scale = 1.0 if spec.takes_pixels else given.scale
    return VariantIO(
        spec.input_dtype, input_scale, given.zero_point, spec.output_dtype, result.scale, result.zero_point
    )
