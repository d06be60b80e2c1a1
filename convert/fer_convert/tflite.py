"""Keras model to the bytes of a ``.tflite`` file, and a look into one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from fer_convert.rounding import round_first_convolution
from fer_convert.variants import VariantSpec
from fer_edge.errors import ModelError
from fer_edge.quiet import quiet_stderr
from fer_edge.types import UInt8Array


def export(model: Any, spec: VariantSpec, calibration: UInt8Array) -> bytes:
    """Convert ``model`` for a batch of one. Raises ModelError with the converter's reason when it fails."""
    import tensorflow as tf
    from tensorflow.lite.python.convert_phase import ConverterError

    if spec.joint_rounding:
        model = round_first_convolution(model, calibration)
    _, height, width, channels = model.input_shape

    def infer(pixels: Any) -> Any:
        return model(pixels, training=False)

    pixels = tf.TensorSpec((1, height, width, channels), tf.float32, name="pixels")
    serve = tf.function(infer, input_signature=[pixels])
    # No second argument here: with one, TF 2.21 leaves the weights out and the file answers NaN.
    converter = tf.lite.TFLiteConverter.from_concrete_functions([serve.get_concrete_function()])
    spec.configure(converter, calibration)
    try:
        with quiet_stderr():
            return bytes(converter.convert())
    except (ConverterError, ValueError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"{spec.name}: the converter failed: {' '.join(str(error).split())[:300]}") from error


def operators(path: Path) -> tuple[str, ...]:
    """Names of the operators a file holds, once each, sorted; ``CUSTOM:<name>`` for one that is not built in.

    Read from the flatbuffer, so without the nodes that a delegate would put in their place.
    """
    from tensorflow.lite.python import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(path.read_bytes(), 0))
    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if not name.startswith("_")}
    found = set()
    for operator in model.operatorCodes:
        # Codes above 127 stand in builtinCode alone; older writers fill only the deprecated byte.
        code = max(operator.builtinCode, operator.deprecatedBuiltinCode)
        custom = operator.customCode
        found.add(f"CUSTOM:{np.asarray(custom).tobytes().decode()}" if custom is not None else names[code])
    return tuple(sorted(found))
