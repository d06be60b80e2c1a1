"""Translate ``.tflite`` files to ONNX by tf2onnx, and list the operators of ONNX files.

The float32 file is translated instead of the Keras model because the converter has folded each BatchNorm into it.
"""

from __future__ import annotations

import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_bench.onnx_model import SCALE, ZERO_POINT, load_model
from fer_convert.export.variants import VariantSpec
from fer_edge.errors import ModelError
from fer_edge.model.interpreter import TensorDetails
from fer_edge.system.extras import require_modules
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

OPSET = 17
"""Of May 2022: every ONNX Runtime since 1.12 supports it, and it has all operators that these graphs need."""
_STEPS = 4
"""Maximum difference in steps of the output's scale. One step in an early layer is more at the end: at most two were
seen in fer-edge-s, and three in mini_xception, where 96 % of 450 outputs and all labels were equal."""
_PACKAGES = ("onnx", "tf2onnx", "onnxruntime")


def check_packages() -> None:
    """Raise MissingExtraError if a package that ``translate`` needs is not installed; imports nothing."""
    require_modules(_PACKAGES, "convert")


def translate(tflite: bytes, spec: VariantSpec, images: UInt8Array) -> bytes:
    """Return the ONNX translation of a ``.tflite`` file, compared with it on ``images``, uint8 [N, H, W].

    ONNX has no scale and zero point for inputs and outputs, so they are written to its metadata.

    Raises:
        ModelError: If the file cannot be translated, or the outputs differ.
    """
    check_packages()
    with tempfile.TemporaryDirectory(prefix="fer-edge-onnx-") as folder:
        source, target = Path(folder) / "model.tflite", Path(folder) / "model.onnx"
        source.write_bytes(tflite)
        original = load_model(source)
        try:
            proto = _translated(source, spec)
            for side, details in (("input", original.input_details), ("output", original.output_details)):
                _add_codec(proto, side, details)
            target.write_bytes(proto.SerializeToString())
            translation = load_model(target)
            try:
                # All variants except for those with uint8 input take float pixels.
                tensors = images[:, np.newaxis, :, :, np.newaxis].astype(original.input_details.dtype)
                outputs = [np.concatenate([m.invoke(t) for t in tensors]) for m in (translation, original)]
            finally:
                translation.close()
        finally:
            original.close()
        check_same(spec, *outputs)
        return target.read_bytes()


def operators(path: Path) -> tuple[str, ...]:
    """Return the sorted names of an ONNX file's operators; ``CUSTOM:<name>`` for those outside the standard."""
    import onnx

    nodes = onnx.load(path).graph.node
    return tuple(
        sorted({node.op_type if node.domain in ("", "ai.onnx") else f"CUSTOM:{node.op_type}" for node in nodes})
    )


def _translated(source: Path, spec: VariantSpec) -> Any:
    with hidden_stderr():
        from tf2onnx import convert
        from tf2onnx import logging as tf2onnx_logging

        tf2onnx_logging.set_level(logging.ERROR)
        try:
            proto, _ = convert.from_tflite(str(source), opset=OPSET)
        except Exception as error:  # its handlers of operators raise exceptions of any type
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"{spec.name}: tf2onnx cannot translate {spec.onnx_of}: {reason}") from error
    return proto


def _add_codec(proto: Any, side: str, details: TensorDetails) -> None:
    for key, value in ((SCALE, repr(details.scale)), (ZERO_POINT, str(details.zero_point))):
        proto.metadata_props.add(key=key.format(side=side), value=value)


def check_same(spec: VariantSpec, logits: npt.NDArray[Any], original: npt.NDArray[Any]) -> None:
    """Compare the raw outputs [N, labels] of an ONNX file with those of the original file.

    A few integers may differ by a few steps, because the two runtimes round differently. Raises ModelError if the
    difference is larger.
    """
    error = np.abs(logits.astype(np.float64) - original)
    if spec.output_dtype == "float32":
        same = bool((error <= 1e-3).all())
    else:
        same = bool((error <= _STEPS).all() and (error == 0).mean() >= 0.9)
    if not same:  # also for NaN
        raise ModelError(f"{spec.name}: its outputs differ from those of {spec.onnx_of} by up to {error.max():g}")
