"""Export Keras models to ``.tflite`` files, and list the operators of such files."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np

from fer_convert.export.variants import VariantSpec
from fer_convert.quantization.rounding import round_first_convolution
from fer_edge.errors import ModelError
from fer_edge.system.stderr import hidden_stderr
from fer_edge.types import UInt8Array


def export(model: Any, spec: VariantSpec, calibration: UInt8Array) -> bytes:
    """Return the ``.tflite`` file of ``model`` for a batch of one. Raises ModelError if the converter fails."""
    from tensorflow.lite.python.convert_phase import ConverterError

    if spec.joint_rounding:
        model = round_first_convolution(model, calibration)
    converter = make_converter(model)
    spec.configure(converter, calibration)
    try:
        with hidden_stderr():
            return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"{spec.name}: {_converter_problem(str(error))}") from error


def _converter_problem(text: str) -> str:
    """Return the converter's message of several lines in one line."""
    missing = sorted(set(re.findall(r"'tf\.(\w+)' op is neither a custom op nor a flex op", text)))
    if missing:
        return f"needs the operators {', '.join(missing)}, which TFLite does not have: no device can run it"
    # The converter repeats its message for each use of an operator.
    lines = dict.fromkeys(" ".join(line.split()) for line in text.splitlines() if line.strip())
    return f"the converter failed: {' '.join(lines)[:300]}"


def make_converter(model: Any) -> Any:
    """Return TensorFlow's converter of ``model`` for a batch of one, with default options."""
    import tensorflow as tf

    _, height, width, channels = model.input_shape

    def infer(pixels: Any) -> Any:
        return model(pixels, training=False)

    pixels = tf.TensorSpec((1, height, width, channels), tf.float32, name="pixels")
    serve = tf.function(infer, input_signature=[pixels])
    # No second argument here: with one, TF 2.21 leaves the weights out and the file returns NaN.
    return tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])


def operators(path: Path) -> tuple[str, ...]:
    """Return the sorted names of a file's operators; ``CUSTOM:<name>`` for those that are not built in.

    They are read from the flatbuffer, so a delegate's nodes are not included.
    """
    return tuple(sorted(set(_operator_names(_parse(path.read_bytes())))))


def operator_tensors(content: bytes) -> list[tuple[str, list[str], list[str]]]:
    """Return name, output tensors and constant input tensors (weights, biases) of each operator, in execution order."""
    model = _parse(content)
    names = _operator_names(model)
    graph = model.subgraphs[0]
    texts = [tensor.name.decode() for tensor in graph.tensors]
    made = {index for operator in graph.operators for index in operator.outputs} | set(graph.inputs)
    return [
        (
            names[operator.opcodeIndex],
            [texts[index] for index in operator.outputs],
            [texts[index] for index in operator.inputs if index >= 0 and index not in made],
        )
        for operator in graph.operators
    ]


def _parse(content: bytes) -> Any:
    from tensorflow.lite.python import schema_py_generated as schema

    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def _operator_names(model: Any) -> list[str]:
    """Return the names of the operators by index in the file's table of operator codes."""
    from tensorflow.lite.python import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    found = []
    for operator in model.operatorCodes:
        # Codes above 127 are in builtinCode only; older writers fill only the deprecated byte.
        code = max(operator.builtinCode, operator.deprecatedBuiltinCode)
        custom = operator.customCode
        found.append(f"CUSTOM:{np.asarray(custom).tobytes().decode()}" if custom is not None else names[code])
    return found
