"""What this machine can do at most: int8 multiply-accumulates and bytes copied per second, on one core.

The first is measured with models of one large convolution, on the interpreter that runs the models.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from fer_bench.profile.interpreter import BareModel

_SHAPES = ((32, 1, 256), (16, 3, 128))
"""Side of the image, side of the filter, channels. Each computes for milliseconds, and fits a cache of 1 MiB."""
_RUNS, _ROUNDS = 3, 10
_COPIED = 32 << 20
"""Bytes: more than the caches of the processors of a Raspberry Pi."""


def int8_peak() -> float:
    """Return int8 multiply-accumulates per second of the fastest of some large convolutions. Raises ModelError."""
    return max(_macs_per_s(*shape) for shape in _SHAPES)


def copy_rate() -> float:
    """Return the bytes per second that are read and written when a large array is copied."""
    source = np.zeros(_COPIED, np.uint8)
    target = np.ones_like(source)
    times = []
    for _ in range(_ROUNDS):
        start = time.perf_counter()
        np.copyto(target, source)
        times.append(time.perf_counter() - start)
    return 2 * _COPIED / min(times)


def _macs_per_s(side: int, kernel: int, channels: int) -> float:
    macs = side**2 * kernel**2 * channels**2
    with BareModel(large_convolution(side, kernel, channels), "the model of one convolution") as model:
        return macs / (min(model.best_ns(_RUNS) for _ in range(_ROUNDS)) / 1e9)


def large_convolution(side: int, kernel: int, channels: int) -> bytes:
    """Return an int8 ``.tflite`` model of one convolution: [1, side, side, channels] in and out, random weights."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    image, weights = [1, side, side, channels], [channels, kernel, kernel, channels]
    values = np.random.default_rng(0).integers(-127, 128, weights, dtype=np.int8)
    empty, filled, bias = (_made(schema.BufferT, data=data) for data in (None, values, np.zeros(channels, np.int32)))
    code = schema.BuiltinOperator.CONV_2D
    convolution = _made(
        schema.OperatorT,
        inputs=[0, 1, 2],
        outputs=[3],
        builtinOptionsType=schema.BuiltinOptions.Conv2DOptions,
        builtinOptions=_made(schema.Conv2DOptionsT, padding=schema.Padding.SAME, strideW=1, strideH=1),
    )
    int8, int32 = schema.TensorType.INT8, schema.TensorType.INT32
    tensors = [
        _tensor("image", image, int8, 0, [0.05]),
        _tensor("weights", weights, int8, 1, [0.01] * channels),
        _tensor("bias", [channels], int32, 2, [0.0005] * channels),
        _tensor("result", image, int8, 0, [0.5]),
    ]
    graph = _made(schema.SubGraphT, tensors=tensors, inputs=[0], outputs=[3], operators=[convolution])
    model = _made(
        schema.ModelT,
        version=3,
        operatorCodes=[_made(schema.OperatorCodeT, builtinCode=code, deprecatedBuiltinCode=code, version=3)],
        subgraphs=[graph],
        buffers=[empty, filled, bias],
    )
    builder = flatbuffers.Builder(values.nbytes + 65536)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _tensor(name: str, shape: list[int], dtype: int, buffer: int, scales: list[float]) -> Any:
    from ai_edge_litert import schema_py_generated as schema

    quantization = _made(schema.QuantizationParametersT, scale=scales, zeroPoint=[0] * len(scales))
    return _made(schema.TensorT, name=name, shape=shape, type=dtype, buffer=buffer, quantization=quantization)


def _made(kind: Any, **fields: Any) -> Any:
    """Return an object of the schema with these fields; its own constructors take none, or take them by position."""
    made = kind()
    for name, value in fields.items():
        # The schema's vectors of bytes are views of the array.
        setattr(made, name, value.view(np.uint8).ravel() if isinstance(value, np.ndarray) else value)
    return made
