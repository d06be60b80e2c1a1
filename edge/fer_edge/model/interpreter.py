"""Run .tflite files with LiteRT or tflite-runtime, which have the same ``Interpreter``.

One thread is the default: for models of this size more threads are not faster.
"""

from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from fer_edge.errors import ModelError, install_command, reason_of
from fer_edge.model.graph_file import check_graph_file
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import InterpreterInfo

AUTO, LITERT, TFLITE_RUNTIME = "auto", "ai-edge-litert", "tflite-runtime"
_MODULES = {LITERT: "ai_edge_litert.interpreter", TFLITE_RUNTIME: "tflite_runtime.interpreter"}
"""Distribution and module of each interpreter, in the order in which ``AUTO`` tries them."""

_RUNTIME_ERRORS = (ValueError, RuntimeError, TypeError, IndexError, OverflowError, MemoryError)
"""What the runtime and its bindings raise for a graph that they cannot run. UnicodeDecodeError is a ValueError."""


@dataclass(frozen=True, slots=True)
class TensorDetails:
    """Type, quantization and shape of a model's tensor. Float tensors have scale 1 and zero point 0."""

    dtype: str
    scale: float
    zero_point: int
    shape: tuple[int, ...]


class TensorModel(Protocol):
    """A loaded model file with one input and one output tensor, in any runtime. See ``LiteRtModel``."""

    path: Path
    input_details: TensorDetails
    output_details: TensorDetails

    def invoke(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return the raw output tensor for ``tensor``, which has the input's shape and dtype."""
        ...

    def describe(self) -> InterpreterInfo:
        """Return the interpreter, and how much of the graph a delegate runs."""
        ...

    def close(self) -> None:
        """Release the model. Idempotent."""
        ...


class LiteRtModel:
    """A loaded ``.tflite`` file with one input and one output tensor. Not thread-safe."""

    def __init__(self, path: Path, threads: int = 1, *, xnnpack: bool = True, interpreter: str = AUTO) -> None:
        """Load a model file.

        LiteRT checks the structure of the file. tflite-runtime 2.14 does not, and crashes if it is truncated: compare a
        bundle's files with their SHA-256 first, and call ``fer_edge.model.trial.try_variant``.

        Args:
            path: The file.
            threads: Threads of one inference.
            xnnpack: False runs the built-in kernels only (for comparisons).
            interpreter: ``LITERT``, ``TFLITE_RUNTIME``, or ``AUTO`` for the first of them that is installed.

        Raises:
            ModelError: If the file is missing, damaged or not a model, or if no interpreter can run it.
        """
        self._name, self._version, runtime = _find_interpreter(interpreter)
        self._threads = threads
        if not path.is_file():
            raise ModelError(f"{path}: no such model file")
        if path.suffix == ".onnx":
            raise ModelError(f"{path}: ONNX is for `fer-edge evaluate` and `fer-edge bench`; choose a .tflite variant")
        check_graph_file(path)
        with _refusing(path, "not a usable .tflite model (damaged or truncated?)"):
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
            inputs, outputs = self._interpreter.get_input_details(), self._interpreter.get_output_details()
            if len(inputs) != 1 or len(outputs) != 1:
                raise ModelError(
                    f"{path}: must have one input and one output, not {len(inputs)} inputs and {len(outputs)} outputs"
                )
            self.path = path
            self.input_details = _details(inputs[0])
            self.output_details = _details(outputs[0])
            # Functions that return a view of the runtime's memory. Keep no view: an existing one blocks invoke().
            self._input_view = self._interpreter.tensor(inputs[0]["index"])
            self._output_view = self._interpreter.tensor(outputs[0]["index"])

    def invoke(self, tensor: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Run the model on ``tensor`` and return a copy of the raw output tensor.

        Raises:
            ValueError: If ``tensor`` does not have the input's shape and dtype.
            ModelError: If the runtime fails.
        """
        wanted = self.input_details
        if tensor.shape != wanted.shape or tensor.dtype.name != wanted.dtype:
            raise ValueError(f"expected {wanted.dtype} {wanted.shape}, got {tensor.dtype.name} {tensor.shape}")
        with _refusing(self.path, "the model cannot run"):
            self._input_view()[...] = tensor
            self._interpreter.invoke()
            return np.array(self._output_view())

    def describe(self) -> InterpreterInfo:
        """Return the interpreter, and how much of the graph XNNPACK runs.

        Raises:
            ModelError: If the interpreter cannot list the nodes.
        """
        delegated: int | None = None
        nodes: int | None = None
        # AttributeError, KeyError: the list of nodes is not a public interface. Others: a name that is not UTF-8.
        with _refusing(self.path, "its nodes cannot be listed"), contextlib.suppress(AttributeError, KeyError):
            delegated, nodes = _count_delegated(self._interpreter._get_ops_details())
        delegate = "XNNPACK" if delegated else None
        return InterpreterInfo(self._name, self._version, delegate, delegated, nodes, self._threads)

    def close(self) -> None:
        """Release the runtime's memory. Idempotent. The model cannot be used afterwards."""
        self._interpreter = self._input_view = self._output_view = None


@contextlib.contextmanager
def _refusing(path: Path, what: str) -> Iterator[None]:
    """Raise ModelError, with ``path``, ``what`` and the reason, for every error that the runtime raises."""
    try:
        yield
    except ModelError:
        raise
    except _RUNTIME_ERRORS as error:
        raise ModelError(f"{path}: {what}: {reason_of(error)[:200]}") from None


def interpreter_version(wanted: str = AUTO) -> tuple[str, str]:
    """Return the distribution and version of the interpreter that ``LiteRtModel`` would use.

    Raises:
        ModelError: If none is usable.
    """
    return _find_interpreter(wanted)[:2]


def _find_interpreter(wanted: str) -> tuple[str, str, Any]:
    """Return the distribution's name and version, and the module with ``Interpreter``. Raises ModelError."""
    problems = []
    for name in _MODULES if wanted == AUTO else (wanted,):
        try:
            # tflite-runtime does not declare this, and can be imported with NumPy 2; it fails when it is used.
            if name == TFLITE_RUNTIME and int(np.__version__.partition(".")[0]) >= 2:
                raise ImportError(f"needs numpy below 2, not {np.__version__}")
            runtime = importlib.import_module(_MODULES[name])
        except ImportError as error:
            problems.append(f"{name}: {error}")
            continue
        # importlib.metadata has the version as well, but it imports the email package.
        return name, str(getattr(sys.modules[str(runtime.__package__)], "__version__", "unknown")), runtime
    remedy = f"{install_command('legacy')} (Python 3.11)" if wanted == TFLITE_RUNTIME else "pip install ai-edge-litert"
    raise ModelError(f"no usable interpreter for .tflite files: {remedy} ({'; '.join(problems)})")


def _count_delegated(operations: Sequence[dict[str, Any]]) -> tuple[int, int]:
    """Count the nodes that XNNPACK runs, and all nodes. The runtime's log reports XNNPACK in any case.

    ``operations`` are all nodes of the file, then one DELEGATE node for each delegated part of the graph. The nodes of
    a part are those on the paths from its outputs back to its inputs.
    """
    nodes = [operation for operation in operations if operation["op_name"] != "DELEGATE"]
    producer = {int(tensor): node for node in nodes for tensor in node["outputs"]}
    delegated: set[int] = set()
    for part in operations:
        if part["op_name"] != "DELEGATE":
            continue
        inputs_of_part = {int(tensor) for tensor in part["inputs"]}
        open_tensors = [int(tensor) for tensor in part["outputs"]]
        while open_tensors:
            tensor = open_tensors.pop()
            node = None if tensor in inputs_of_part else producer.get(tensor)
            if node is not None and node["index"] not in delegated:
                delegated.add(node["index"])
                open_tensors += [int(tensor) for tensor in node["inputs"]]
    return len(delegated), len(nodes)


def _details(tensor: dict[str, Any]) -> TensorDetails:
    dtype = np.dtype(tensor["dtype"]).name
    scale, zero_point = tensor["quantization"]
    # The runtime marks tensors without quantization by a scale of 0.
    if scale == 0:
        scale, zero_point = 1.0, 0
    return TensorDetails(dtype, float(scale), int(zero_point), tuple(int(size) for size in tensor["shape"]))
