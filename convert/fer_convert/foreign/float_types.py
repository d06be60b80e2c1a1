"""Convert graphs that compute in other float types to float32, the type of TFLite's float operators."""

from __future__ import annotations

from typing import Any

import numpy as np


def widen(definition: Any) -> str:
    """Change all float types of a GraphDef to float32. Returns the name of its coarsest float type.

    Networks trained in mixed precision store float32 weights and cast them; these weights are used unrounded. Constants
    of fewer bits keep their values.
    """
    import tensorflow as tf

    others = {tf.bfloat16: "bfloat16", tf.float16: "float16", tf.float64: "float64"}
    types = {dtype.as_datatype_enum: name for dtype, name in others.items()}
    wide, found = tf.float32.as_datatype_enum, set()
    functions = definition.library.function
    for node in [*definition.node, *(node for function in functions for node in function.node_def)]:
        for attribute in node.attr.values():
            if attribute.type in types:
                found.add(types[attribute.type])
                attribute.type = wide
            for at, kind in enumerate(attribute.list.type):
                attribute.list.type[at] = wide if kind in types else kind
            if attribute.HasField("tensor") and attribute.tensor.dtype in types:
                values = tf.make_ndarray(attribute.tensor).astype(np.float32)
                attribute.tensor.CopyFrom(tf.make_tensor_proto(values))
    for function in functions:
        for argument in (*function.signature.input_arg, *function.signature.output_arg):
            argument.type = wide if argument.type in types else argument.type
    return next((name for name in others.values() if name in found), "float32")
