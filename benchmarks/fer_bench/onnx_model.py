"""Run ``.onnx`` variants on ONNX Runtime, with the interface of ``LiteRtModel``. The device uses LiteRT only."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_bench.extras import require
from fer_edge.errors import ModelError
from fer_edge.model.interpreter import LiteRtModel, TensorDetails, TensorModel
from fer_edge.types import InterpreterInfo

SUFFIX = ".onnx"
SCALE, ZERO_POINT = "{side}_scale", "{side}_zero_point"
"""Keys in an ONNX file's metadata, for the sides input and output. ONNX tensors have no quantization parameters.

``fer-edge convert`` writes them. The defaults are scale 1 and zero point 0.
"""


def load_model(path: Path, threads: int = 1) -> TensorModel:
    """Load ``path`` on ONNX Runtime if it is an ``.onnx`` file, else on LiteRT.

    Raises MissingExtraError, ModelError.
    """
    return OnnxModel(path, threads) if path.suffix == SUFFIX else LiteRtModel(path, threads)


class OnnxModel:
    """A loaded ``.onnx`` file with one input and one output tensor, on the CPU."""

    def __init__(self, path: Path, threads: int = 1) -> None:
        """Load ``path``. Raises MissingExtraError without ONNX Runtime, ModelError if it cannot run the file."""
        runtime = require("onnxruntime")
        if not path.is_file():
            raise ModelError(f"{path}: no such model file")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal: errors are also raised, and should be printed once
        try:
            self._session: Any = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except _errors() as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: not a usable .onnx model (damaged or truncated?): {reason}") from None
        inputs, outputs = self._session.get_inputs(), self._session.get_outputs()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"{path}: needs one input and one output, not {len(inputs)} inputs and {len(outputs)} outputs"
            )
        self.path = path
        self._info = InterpreterInfo("onnxruntime", runtime.__version__, None, None, None, threads)
        self._names = (inputs[0].name, outputs[0].name)
        metadata = self._session.get_modelmeta().custom_metadata_map
        self.input_details = _details(path, inputs[0], "input", metadata)
        self.output_details = _details(path, outputs[0], "output", metadata)

    def invoke(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Run the model on ``tensor``, with the input's shape and dtype; return the raw output tensor.

        Raises ValueError for another shape or dtype, ModelError if the runtime fails.
        """
        wanted = self.input_details
        if tensor.shape != wanted.shape or tensor.dtype.name != wanted.dtype:
            raise ValueError(f"expected {wanted.dtype} {wanted.shape}, got {tensor.dtype.name} {tensor.shape}")
        given, result = self._names
        try:
            return np.asarray(self._session.run([result], {given: tensor})[0])
        except _errors() as error:
            raise ModelError(f"{self.path}: the model cannot run: {' '.join(str(error).split())[:200]}") from None

    def describe(self) -> InterpreterInfo:
        """Return the runtime's name and version; the nodes of its providers are unknown."""
        return self._info

    def close(self) -> None:
        """Release the runtime's memory. Idempotent; the model cannot be used afterwards."""
        self._session = None


def _errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime: classes of its binary module without a common base but Exception."""
    binary = require("onnxruntime.capi.onnxruntime_pybind11_state")
    own = (value for value in vars(binary).values() if isinstance(value, type) and issubclass(value, Exception))
    return (*own, RuntimeError, ValueError)


def _details(path: Path, tensor: Any, side: str, metadata: dict[str, str]) -> TensorDetails:
    element = re.fullmatch(r"tensor\((\w+)\)", tensor.type)
    dtype = {"float": "float32"}.get(element[1], element[1]) if element else tensor.type
    if not all(isinstance(size, int) for size in tensor.shape):
        raise ModelError(f"{path}: its {side} has the open shape {tensor.shape}; convert it for a batch of one")
    try:
        scale = float(metadata.get(SCALE.format(side=side), "1"))
        zero_point = int(metadata.get(ZERO_POINT.format(side=side), "0"))
    except ValueError:
        raise ModelError(f"{path}: the scale or zero point in its metadata is not a number") from None
    return TensorDetails(dtype, scale, zero_point, tuple(tensor.shape))
