"""A ``.tflite`` file translated to ONNX by tf2onnx, and a look into an ONNX file.

The float32 file is what is translated, and not the Keras model: the converter has folded every BatchNorm into it.
"""

from __future__ import annotations

import importlib.util
import logging
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_bench.onnx_model import SCALE, ZERO_POINT, load_model
from fer_convert.export.variants import VariantSpec
from fer_edge.errors import MissingExtraError, ModelError
from fer_edge.model.interpreter import TensorDetails
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array

OPSET = 17
"""Of May 2022: every ONNX Runtime since 1.12 runs it, and it holds all that these graphs need."""
_STEPS = 4
"""Of an output's scale. One step in an early layer is more at the end: two seen in fer-edge-s, three in mini_xception's
450 answers, with 96 % of them equal and every label the same."""
_PACKAGES = ("onnx", "tf2onnx", "onnxruntime")


def check_packages() -> None:
    """Raises MissingExtraError when what ``translate`` needs is not installed; imports nothing."""
    for package in _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package, "convert")


def translate(tflite: bytes, spec: VariantSpec, images: UInt8Array) -> bytes:
    """The ONNX file of a ``.tflite`` file, which answers as that one does on ``images``, uint8 [N, H, W].

    The tensors' scales and zero points, which ONNX does not keep with its inputs and outputs, go into its metadata.
    Raises ModelError when it cannot be translated, or answers something else.
    """
    check_packages()
    with tempfile.TemporaryDirectory(prefix="fer-edge-onnx-") as folder:
        source, target = Path(folder) / "model.tflite", Path(folder) / "model.onnx"
        source.write_bytes(tflite)
        original = load_model(source)
        try:
            proto = _translated(source, spec)
            for side, details in (("input", original.input_details), ("output", original.output_details)):
                _keep_codec(proto, side, details)
            target.write_bytes(proto.SerializeToString())
            translation = load_model(target)
            try:
                # A float copy of the pixels is what all but the uint8 variants take.
                tensors = images[:, np.newaxis, :, :, np.newaxis].astype(original.input_details.dtype)
                answers = [np.concatenate([m.invoke(t) for t in tensors]) for m in (translation, original)]
            finally:
                translation.close()
        finally:
            original.close()
        check_same(spec, *answers)
        return target.read_bytes()


def operators(path: Path) -> tuple[str, ...]:
    """Names of the operators an ONNX file holds, once each, sorted; ``CUSTOM:<name>`` for one outside the standard."""
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
        except Exception as error:  # it raises whatever its handler of an operator ran into
            reason = " ".join(str(error).split())[:300]
            raise ModelError(f"{spec.name}: tf2onnx cannot translate {spec.onnx_of}: {reason}") from error
    return proto


def _keep_codec(proto: Any, side: str, details: TensorDetails) -> None:
    for key, value in ((SCALE, repr(details.scale)), (ZERO_POINT, str(details.zero_point))):
        proto.metadata_props.add(key=key.format(side=side), value=value)


def check_same(spec: VariantSpec, logits: npt.NDArray[Any], original: npt.NDArray[Any]) -> None:
    """Compare the raw output tensors [N, labels] of an ONNX file with those of the file that it was made from.

    Integers may differ, since the two runtimes round differently: by a few steps, and in few places. Raises ModelError
    when they differ by more.
    """
    error = np.abs(logits.astype(np.float64) - original)
    if spec.output_dtype == "float32":
        same = bool((error <= 1e-3).all())
    else:
        same = bool((error <= _STEPS).all() and (error == 0).mean() >= 0.9)
    if not same:  # a NaN is not the same either
        raise ModelError(f"{spec.name}: answers other than {spec.onnx_of}, by up to {error.max():g}")
