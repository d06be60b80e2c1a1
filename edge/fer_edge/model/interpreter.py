"""LiteRT or tflite-runtime behind one small class.

Both give the same ``Interpreter``. One thread is the default: at this size of model more threads helped nothing.
"""

from __future__ import annotations

import importlib
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ModelError
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import InterpreterInfo

AUTO, LITERT, TFLITE_RUNTIME = "auto", "ai-edge-litert", "tflite-runtime"
_MODULES = {LITERT: "ai_edge_litert.interpreter", TFLITE_RUNTIME: "tflite_runtime.interpreter"}
"""Distribution and module of each interpreter, in the order in which ``AUTO`` tries them."""
_INSTALLED_BY = {LITERT: "pip install ai-edge-litert", TFLITE_RUNTIME: "pip install 'fer-edge[legacy]' (Python 3.11)"}


@dataclass(frozen=True, slots=True)
class Delegation:
    """How many of a graph's ``nodes`` a delegate (XNNPACK) has taken over; the rest run on the built-in kernels."""

    delegated: int
    nodes: int


@dataclass(frozen=True, slots=True)
class TensorDetails:
    """One tensor of a model: ``dtype`` name, quantization (scale 1, zero point 0 for floats) and ``shape``."""

    dtype: str
    scale: float
    zero_point: int
    shape: tuple[int, ...]


class TensorModel(Protocol):
    """A loaded model file with one input and one output tensor, on whichever runtime. See ``LiteRtModel``."""

    path: Path
    input_details: TensorDetails
    output_details: TensorDetails

    def invoke(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """The raw output tensor for ``tensor``, of the input's shape and dtype."""
        ...

    def describe(self) -> InterpreterInfo:
        """What runs the model, and how much of it a delegate has taken."""
        ...

    def close(self) -> None:
        """Release the model; may be called twice."""
        ...


class LiteRtModel:
    """A loaded ``.tflite`` file with one input and one output tensor. Not for use by two threads at once."""

    def __init__(self, path: Path, threads: int = 1, *, xnnpack: bool = True, interpreter: str = AUTO) -> None:
        """Load ``path``. Raises ModelError for a file that is missing, damaged, no model, or cannot run here.

        ``xnnpack=False`` keeps XNNPACK away, so that the runtime's built-in kernels run (for comparisons).
        ``interpreter`` is ``LITERT``, ``TFLITE_RUNTIME``, or ``AUTO`` for the first of them that is installed.
        LiteRT checks the file's structure; tflite-runtime 2.14 does not, and dies of a truncated one, so a
        bundle's files are compared with their sha256 first.
        """
        self._name, runtime = _find_interpreter(interpreter)
        # Its metadata would tell too, but that imports a parser of mails.
        self._version: str = getattr(sys.modules[runtime.__package__], "__version__", "unknown")
        self._threads = threads
        if not path.is_file():
            raise ModelError(f"{path}: no such model file")
        if path.suffix == ".onnx":
            raise ModelError(f"{path}: ONNX is for `fer-edge evaluate` and `fer-edge bench`; choose a .tflite variant")
        try:
            with hidden_stderr():
                resolvers = runtime.OpResolverType
                self._interpreter: Any = runtime.Interpreter(
                    model_path=str(path),
                    num_threads=threads,
                    experimental_op_resolver_type=(
                        resolvers.AUTO if xnnpack else resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES
                    ),
                )
                self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise ModelError(f"{path}: not a usable .tflite model (damaged or truncated?): {reason}") from None
        inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
        if len(inputs) != 1 or len(outputs) != 1:
            raise ModelError(
                f"{path}: needs one input and one output, not {len(inputs)} inputs and {len(outputs)} outputs"
            )
        self.path = path
        self.input_details = _details(inputs[0])
        self.output_details = _details(outputs[0])
        # Views of the runtime's own memory: made anew for each use, since one that is held blocks invoke().
        self._input_view = self._interpreter.tensor(inputs[0]["index"])
        self._output_view = self._interpreter.tensor(outputs[0]["index"])

    def invoke(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Run the model on ``tensor``, of the input's shape and dtype; returns a copy of the raw output tensor.

        Raises ValueError for another shape or dtype, ModelError when the runtime fails.
        """
        wanted = self.input_details
        if tensor.shape != wanted.shape or tensor.dtype.name != wanted.dtype:
            raise ValueError(f"expected {wanted.dtype} {wanted.shape}, got {tensor.dtype.name} {tensor.shape}")
        self._input_view()[...] = tensor
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise ModelError(f"{self.path}: the model cannot run: {error}") from None
        return np.array(self._output_view())

    def delegation(self) -> Delegation:
        """What XNNPACK really took; the log line that it was created is there when it takes nothing, too.

        The runtime lists every node of the file, then one DELEGATE node for each part that was taken over. Which
        nodes such a part replaces it does not say: they are those on the way back from its outputs to its inputs.
        """
        operations = self._interpreter._get_ops_details()
        nodes = [operation for operation in operations if operation["op_name"] != "DELEGATE"]
        producer = {int(tensor): node for node in nodes for tensor in node["outputs"]}
        taken: set[int] = set()
        for part in operations:
            if part["op_name"] != "DELEGATE":
                continue
            given = {int(tensor) for tensor in part["inputs"]}
            open_tensors = [int(tensor) for tensor in part["outputs"]]
            while open_tensors:
                tensor = open_tensors.pop()
                node = None if tensor in given else producer.get(tensor)
                if node is not None and node["index"] not in taken:
                    taken.add(node["index"])
                    open_tensors += [int(tensor) for tensor in node["inputs"]]
        return Delegation(len(taken), len(nodes))

    def describe(self) -> InterpreterInfo:
        """Which interpreter runs the model, and what XNNPACK took."""
        try:
            taken = self.delegation()
        except AttributeError:  # the list of nodes is no public interface: another version may lack it
            return InterpreterInfo(self._name, self._version, None, None, None, self._threads)
        delegate = "XNNPACK" if taken.delegated else None
        return InterpreterInfo(self._name, self._version, delegate, taken.delegated, taken.nodes, self._threads)

    def close(self) -> None:
        """Release the runtime's memory; may be called twice, and nothing else may be called after it."""
        self._interpreter = self._input_view = self._output_view = None


def _find_interpreter(wanted: str) -> tuple[str, Any]:
    """The distribution's name, and the module that holds ``Interpreter``. Raises ModelError where there is none."""
    problems = []
    for name in _MODULES if wanted == AUTO else (wanted,):
        try:
            _check_numpy(name)
            return name, importlib.import_module(_MODULES[name])
        except ImportError as error:
            problems.append(f"{name}: {error}")
    remedy = _INSTALLED_BY[LITERT if wanted == AUTO else wanted]
    raise ModelError(f"no interpreter for .tflite files works here: {remedy} ({'; '.join(problems)})")


def _check_numpy(name: str) -> None:
    # It does not say so to pip, and is imported without an error: it fails at use.
    if name == TFLITE_RUNTIME and int(np.__version__.partition(".")[0]) >= 2:
        raise ImportError(f"needs numpy below 2, and here is {np.__version__}")


def _details(tensor: dict[str, Any]) -> TensorDetails:
    dtype = np.dtype(tensor["dtype"]).name
    scale, zero_point = tensor["quantization"]
    # A float tensor has no quantization; the runtime says so with a scale of 0.
    if scale == 0:
        scale, zero_point = 1.0, 0
    return TensorDetails(dtype, float(scale), int(zero_point), tuple(int(size) for size in tensor["shape"]))
