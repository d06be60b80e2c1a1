"""Translate ONNX files, and those of PyTorch's ``torch.export.save``, to TensorFlow graphs by onnx2tf.

onnx2tf runs in a separate process: it prints much, ends the process on errors, and imports a second Keras.
"""

from __future__ import annotations

import dataclasses
import importlib.util
import re
import subprocess
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from fer_convert.foreign.saved_model import Loaded, first_line, image_shape, load_saved_model, only, row_length
from fer_edge.errors import InputError, MissingExtraError, ModelError
from fer_edge.system.stderr import hidden_stderr

ONNX, EXPORTED = ".onnx", ".pt2"
_EXTRA = "import"
_PACKAGES = ("onnx", "onnxruntime", "onnx2tf", "tf_keras", "onnx_graphsurgeon", "sng4onnx")
_OPSET = 18
"""The version that PyTorch's exporter writes without a conversion; onnx2tf 1.28 supports it."""
_MAX_TRANSLATION_S = 900
_STANDARD = ("", "ai.onnx")
_LOOPS = {"Loop", "Scan", "If", "LSTM", "GRU", "RNN"}
_QUANTIZED = {"QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "ConvInteger", "MatMulInteger"}


def check_packages(suffix: str) -> None:
    """Raise MissingExtraError if a package that files of this kind need is not installed; imports nothing."""
    for package in (*_PACKAGES, "onnxscript") if suffix == EXPORTED else _PACKAGES:
        if importlib.util.find_spec(package) is None:
            raise MissingExtraError(package.replace("_", "-"), _EXTRA)
    if suffix == EXPORTED and importlib.util.find_spec("torch") is None:
        raise MissingExtraError("torch", "torch")


def import_before_tensorflow(suffix: str) -> None:
    """Import what must be imported before TensorFlow to load a file of this kind.

    PyTorch's exporter imports Triton, whose library crashes (SIGSEGV) in a process that has TensorFlow's.
    """
    if suffix == EXPORTED:
        with hidden_stderr():
            importlib.import_module("torch._dynamo")


def load_onnx(path: Path, size: tuple[int, int] | None) -> Loaded:
    """Load the ONNX file at ``path``; the reference for its outputs is ONNX Runtime.

    Raises:
        InputError: If it takes any size and ``size``, (height, width), is None.
        ModelError: If it is damaged, or not a network that onnx2tf can translate.
    """
    import onnx

    try:
        proto = onnx.load(path)
        onnx.checker.check_model(proto)
    except FileNotFoundError as error:
        raise ModelError(f"{path}: its weights are in another file that is missing: {first_line(error)}") from None
    except Exception as error:  # noqa: BLE001  protobuf's, the checker's and Python's
        raise ModelError(f"{path}: not a usable ONNX model (damaged or truncated?): {first_line(error)}") from None
    loaded = _translated(path, proto, size)
    opset = next((each.version for each in proto.opset_import if each.domain in _STANDARD), 0)
    return dataclasses.replace(
        loaded, kind=f"an ONNX file of opset {opset}", call=_run_onnx(path, proto), reference="ONNX Runtime"
    )


def load_exported(path: Path, size: tuple[int, int] | None) -> Loaded:
    """Load the ExportedProgram at ``path``; the reference for its outputs is PyTorch. Raises as ``load_onnx`` does."""
    import torch

    with hidden_stderr(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            program = torch.export.load(path)
        except Exception as error:  # exceptions of any type, depending on the file
            raise ModelError(
                f"{path}: PyTorch {torch.__version__} cannot load it (damaged, truncated, or of a newer version?): "
                f"{first_line(error)}"
            ) from error
        try:
            exported = torch.onnx.export(program, dynamo=True, opset_version=_OPSET, verbose=False)
            proto = exported.model_proto
        except Exception as error:  # a class for each step of the export
            raise ModelError(f"{path}: PyTorch cannot export it to ONNX: {first_line(error)}") from error
    loaded = _translated(path, proto, size)
    module = program.module()
    first = _nchw(proto)

    def call(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        given = torch.from_numpy(np.ascontiguousarray(images.transpose(0, 3, 1, 2) if first else images))
        with torch.no_grad():
            answer = module(given)
        return np.asarray((answer[0] if isinstance(answer, (list, tuple)) else answer).numpy(), np.float32)

    return dataclasses.replace(loaded, kind="a program of torch.export", call=call, reference="PyTorch")


def _run_onnx(path: Path, proto: Any) -> Any:
    import onnxruntime

    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    except Exception as error:  # it has a class for each of its error codes
        raise ModelError(f"{path}: ONNX Runtime cannot load it: {first_line(error)}") from error
    name, first = session.get_inputs()[0].name, _nchw(proto)

    def call(images: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        given = np.ascontiguousarray(images.transpose(0, 3, 1, 2)) if first else images
        return np.asarray(session.run(None, {name: given})[0], np.float32)

    return call


def _translated(path: Path, proto: Any, size: tuple[int, int] | None) -> Loaded:
    """Return ``proto`` as a loaded SavedModel, for any number of images of one size."""
    import onnx

    _check_operators(path, proto)
    changed = onnx.ModelProto()
    changed.CopyFrom(proto)
    given = _check_input(path, changed)
    _fix_size(path, changed, given, size)
    _free_batch(changed, given)
    with tempfile.TemporaryDirectory(prefix="fer-edge-onnx-") as folder:
        source, target = Path(folder) / "model.onnx", Path(folder) / "saved_model"
        onnx.save(changed, source)
        flags = ["-i", str(source), "-o", str(target), "-osd", "-nuo", "-n"]
        if not _nchw(changed):
            flags += ["-kat", given.name]
        _run_onnx2tf(path, flags)
        try:
            return load_saved_model(target)
        except ModelError as error:
            raise ModelError(str(error).replace(str(target), str(path))) from None


def _run_onnx2tf(path: Path, flags: list[str]) -> None:
    command = [sys.executable, "-P", "-c", "import onnx2tf; onnx2tf.main()", *flags]
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=_MAX_TRANSLATION_S, check=False
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"{path}: onnx2tf did not translate it within {_MAX_TRANSLATION_S} s") from None
    if done.returncode:
        raise ModelError(f"{path}: onnx2tf cannot translate it: {_reason((done.stdout + done.stderr).decode())}")


def _reason(printed: str) -> str:
    """Return the line of onnx2tf's output that contains the error."""
    lines = [re.sub(r"\x1b\[[\d;]*m", "", line).strip() for line in printed.splitlines()]
    wrong = [
        line.removeprefix("ERROR:").strip() for line in lines if re.match(r"(ERROR: |\w*(Error|Exception)\b: )", line)
    ]
    reason = next(
        (line for line in wrong if "http" not in line and "Read this" not in line), lines[-1] if lines else ""
    )
    return reason[:200] or "it printed nothing; the memory may be used up"


def _check_operators(path: Path, proto: Any) -> None:
    nodes = list(proto.graph.node)
    foreign = sorted({f"{node.domain}.{node.op_type}" for node in nodes if node.domain not in _STANDARD})
    functions = {f"{each.domain}.{each.name}" for each in proto.functions}
    foreign = [name for name in foreign if name not in functions]
    if foreign:
        raise ModelError(
            f"{path}: uses operators that are not in the ONNX standard: {', '.join(foreign)}; export it without them"
        )
    kinds = {node.op_type for node in nodes}
    if kinds & _LOOPS:
        raise ModelError(
            f"{path}: contains a loop or a branch ({min(kinds & _LOOPS)}), which is not supported: it "
            "cannot be made of 8-bit integers"
        )
    if kinds & _QUANTIZED or any(kind.startswith("QLinear") for kind in kinds):
        raise ModelError(f"{path}: is quantized already: give the float model, which convert quantizes")


def _check_input(path: Path, proto: Any) -> Any:
    """Return the only input that is not a weight."""
    given = only(path, "inputs", _inputs(proto))
    result = only(path, "outputs", list(proto.graph.output))
    if given.type.tensor_type.elem_type != 1:
        raise ModelError(f"{path}: takes {_type_name(given)}; wanted float32 pixels")
    shape = _dims(given)
    image_shape(path, (None, *shape[2:], shape[1]) if _channels_first(shape) else (None, *shape[1:]))
    if shape[0] not in (None, 1):
        raise ModelError(f"{path}: takes exactly {shape[0]} images at once; export it for one, or for any number")
    row = _dims(result)
    row_length(path, (None, *row[1:]))
    return given


def _type_name(value: Any) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type)).lower()


def _dims(value: Any) -> tuple[int | None, ...]:
    return tuple(each.dim_value or None for each in value.type.tensor_type.shape.dim)


def _nchw(proto: Any) -> bool:
    """Return whether its images have channels first, as in PyTorch."""
    return _channels_first(_dims(_inputs(proto)[0]))


def _channels_first(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 4 and shape[1] in (1, 3) and shape[3] not in (1, 3)


def _inputs(proto: Any) -> list[Any]:
    """Return the inputs that are not weights."""
    weights = {each.name for each in proto.graph.initializer}
    return [each for each in proto.graph.input if each.name not in weights]


def _fix_size(path: Path, proto: Any, given: Any, size: tuple[int, int] | None) -> None:
    sides = given.type.tensor_type.shape.dim[2:4] if _nchw(proto) else given.type.tensor_type.shape.dim[1:3]
    for number, side in enumerate(sides):
        if not side.dim_value:
            if size is None:
                raise InputError(f"{path}: takes images of any size: choose one, such as --input-size 96")
            side.dim_value = size[number]


def _free_batch(proto: Any, given: Any) -> None:
    """Change a model for one image to one for any number, which int8's calibration and the checks need.

    Exporters write the 1 into the target shapes of reshapes, where it is replaced by any number. The later comparison
    with the original model shows whether that is right.
    """
    from onnx import numpy_helper, shape_inference

    inferred = shape_inference.infer_shapes(proto).graph
    shapes = {each.name: _dims(each) for each in (*inferred.value_info, *inferred.output)}
    was_one = _dims(given)[0] == 1
    for value in (given, proto.graph.output[0]):
        first = value.type.tensor_type.shape.dim[0]
        first.ClearField("value")
        first.dim_param = "N"
    del proto.graph.value_info[:]
    for number, node in enumerate(proto.graph.node if was_one else ()):
        shape = shapes.get(node.output[0], ())
        if node.op_type == "Reshape" and shape and shape[0] == 1 and None not in shape:
            name = f"any_number_{number}"
            proto.graph.initializer.append(numpy_helper.from_array(np.array([-1, *shape[1:]], np.int64), name))
            node.input[1] = name
