"""Bundles with correct hashes whose model crashes, hangs or confuses the interpreter, made from a good one."""

from __future__ import annotations

import json
import os
import shutil
import struct
from collections.abc import Callable
from pathlib import Path

from fer_edge.model.bundle import file_sha256
from fer_edge.model.graph_file import Table
from fer_edge.model.manifest import MANIFEST_NAME, write_manifest
from support.environments.fresh_install import CHECKOUT

CONV_2D, WHILE = 3, 119
SHARED = CHECKOUT.parent / "shared" / "hostile" / "bundles"
"""Further such bundles next to the checkout, if there are any; not part of the project."""
Spoil = Callable[[bytearray], None]


def hostile_bundle(source: Path, folder: Path, spoil: Spoil, variant: str = "int8") -> Path:
    """Return a copy of the bundle ``source``, one model of which is changed by ``spoil``, with correct hashes."""
    shutil.copytree(source, folder)
    path = folder / f"{variant}.tflite"
    data = bytearray(path.read_bytes())
    spoil(data)
    path.write_bytes(data)
    return with_current_hashes(folder)


def with_current_hashes(folder: Path) -> Path:
    """Update the size and hash of each file in the manifest of ``folder``, and return the bundle."""
    table = json.loads((folder / MANIFEST_NAME).read_text())
    for entry in table["variants"].values():
        path = folder / entry["file"]
        entry.update(sha256=file_sha256(path), bytes=path.stat().st_size)
    write_manifest(folder, table)
    return folder


def activation_scale(value: float) -> Spoil:
    """Give the output of the first convolution this scale."""

    def spoil(data: bytearray) -> None:
        tensor = _graph(data).tables(0)[_first_convolution(data).integers(2)[0]]
        quantization = tensor.table(4)
        assert quantization is not None
        struct.pack_into("<f", data, _vector(data, quantization, 2) + 4, value)

    return spoil


def filter_index(value: int) -> Spoil:
    """Let the first convolution take the tensor ``value`` as its filter."""

    def spoil(data: bytearray) -> None:
        struct.pack_into("<i", data, _vector(data, _first_convolution(data), 1) + 8, value)

    return spoil


def output_index(value: int) -> Spoil:
    """Let the graph return the tensor ``value``."""

    def spoil(data: bytearray) -> None:
        struct.pack_into("<i", data, _vector(data, _graph(data), 2) + 4, value)

    return spoil


def no_operators(data: bytearray) -> None:
    """Empty the list of operators."""
    struct.pack_into("<I", data, _vector(data, _graph(data), 3), 0)


def name_not_utf8(data: bytearray) -> None:
    """Give the output of the first convolution a name that is not text."""
    tensor = _graph(data).tables(0)[_first_convolution(data).integers(2)[0]]
    data[_vector(data, tensor, 3) + 4] = 0xFF


def first_input_left_out(data: bytearray) -> None:
    """Give the first operator no input."""
    struct.pack_into("<i", data, _vector(data, _graph(data).tables(3)[0], 1) + 4, -1)


def calls_itself(data: bytearray) -> None:
    """Let the loop of an endless model take the whole graph as its condition: the interpreter's stack overflows."""
    codes = [code.integer(3, "i") for code in _model(data).tables(1)]
    loop = next(operator for operator in _graph(data).tables(3) if codes[operator.integer(0, "I")] == WHILE)
    options = loop.table(4)
    assert options is not None
    at = options.position(0)
    assert at is not None
    struct.pack_into("<i", data, at, 0)


def endless_beside(bundle: Path) -> Path:
    """Return the path of the endless bundle of ``bundle``, for an environment without TensorFlow."""
    return bundle.with_name(f"{bundle.name}-endless")


def make_endless_bundle(source: Path, folder: Path) -> Path:
    """Return a copy of the bundle ``source`` whose float32 model loops while its input is finite."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    class Endless(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 48, 48, 1], tf.float32)])  # type: ignore[untyped-decorator]
        def run(self, pixels: tf.Tensor) -> tf.Tensor:
            logits = tf.reshape(pixels, [1, -1])[:, :7]
            return tf.while_loop(
                lambda values: tf.reduce_max(values) < 1e30, lambda values: (tf.minimum(values, 255.0),), (logits,)
            )[0]

    model = Endless()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.run.get_concrete_function()], model)
    shutil.copytree(source, folder)
    (folder / "float32.tflite").write_bytes(converter.convert())
    return with_current_hashes(folder)


def make_large_bundle(source: Path, folder: Path) -> Path:
    """Copy the bundle ``source`` to ``folder``; its float32 model, a file of 2 KB, takes 0.9 GB for an inference."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    import tensorflow as tf

    class Large(tf.Module):  # type: ignore[misc]
        @tf.function(input_signature=[tf.TensorSpec([1, 48, 48, 1], tf.float32)])  # type: ignore[untyped-decorator]
        def run(self, pixels: tf.Tensor) -> tf.Tensor:
            flat = tf.reshape(pixels, [1, -1])
            return flat[:, :7] + tf.reduce_max(tf.tile(flat, [100_000, 1]))

    model = Large()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([model.run.get_concrete_function()], model)
    shutil.copytree(source, folder)
    (folder / "float32.tflite").write_bytes(converter.convert())
    return with_current_hashes(folder)


def _model(data: bytearray) -> Table:
    return Table(bytes(data), struct.unpack_from("<I", data, 0)[0])


def _graph(data: bytearray) -> Table:
    return _model(data).tables(2)[0]


def _first_convolution(data: bytearray) -> Table:
    codes = [code.integer(3, "i") for code in _model(data).tables(1)]
    return next(operator for operator in _graph(data).tables(3) if codes[operator.integer(0, "I")] == CONV_2D)


def _vector(data: bytearray, table: Table, field: int) -> int:
    """Return the position of a vector: its length, then its elements."""
    at = table.position(field)
    assert at is not None
    return at + int(struct.unpack_from("<I", data, at)[0])
