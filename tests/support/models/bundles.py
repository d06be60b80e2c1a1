"""A tiny but real model bundle: Keras to TFLite, float32 and int8, with the contract of a released one."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.model.bundle import file_sha256
from fer_edge.model.interpreter import LiteRtModel, TensorDetails
from fer_edge.model.labels import FER2013_LABELS
from fer_edge.model.manifest import MANIFEST_NAME, write_manifest

SIDE = 48


def make_tiny_bundle(folder: Path, seed: int = 0) -> Path:
    """Write an untrained bundle of two variants to ``folder`` and return it; takes TensorFlow's start-up time."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("KERAS_BACKEND", "tensorflow")
    import keras
    import tensorflow as tf

    keras.utils.set_random_seed(seed)
    pixels = keras.Input((SIDE, SIDE, 1))
    hidden = keras.layers.Rescaling(1 / 255)(pixels)
    hidden = keras.layers.Conv2D(8, 5, strides=4, activation="relu")(hidden)
    hidden = keras.layers.Conv2D(16, 3, strides=2, activation="relu")(hidden)
    # Large weights: with small ones every image has almost the same logits, and a test would see no difference.
    logits = keras.layers.Dense(
        len(FER2013_LABELS), kernel_initializer=keras.initializers.RandomNormal(stddev=1.5, seed=seed)
    )(keras.layers.Flatten()(hidden))
    model = keras.Model(pixels, logits)

    folder.mkdir(parents=True, exist_ok=True)
    (folder / "float32.tflite").write_bytes(tf.lite.TFLiteConverter.from_keras_model(model).convert())
    converter = tf.lite.TFLiteConverter.from_keras_model(model)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image] for image in _representative(seed))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.uint8
    converter.inference_output_type = tf.int8
    (folder / "int8.tflite").write_bytes(converter.convert())
    write_tiny_manifest(folder)
    return folder


def write_tiny_manifest(folder: Path, **changes: Any) -> None:
    """Write the manifest of the variants in ``folder``; ``changes`` replace top-level keys."""
    variants = {name: _variant(folder / f"{name}.tflite") for name in ("int8", "float32")}
    table = {
        "format": 1,
        "name": "tiny",
        "version": "0.0.1",
        "license": "Apache-2.0",
        "labels": list(FER2013_LABELS),
        "input": {"height": SIDE, "width": SIDE, "channels": 1},
        "output": "logits",
        "temperature": 1.5,
        "variants": variants,
    }
    write_manifest(folder, {**table, **changes})


def copy_bundle(source: Path, folder: Path, **changes: Any) -> Path:
    """A copy in ``folder``; ``changes`` replace top-level keys of its manifest."""
    shutil.copytree(source, folder)
    table = json.loads((folder / MANIFEST_NAME).read_text())
    write_manifest(folder, {**table, **changes})
    return folder


def add_onnx_variant(folder: Path) -> Path:
    """Add ``onnx_float32`` to the bundle in ``folder``: one dense layer with random weights, float32 0..255 in."""
    from onnx import TensorProto, helper, numpy_helper, save

    weights = np.random.default_rng(0).normal(size=(SIDE * SIDE, len(FER2013_LABELS))).astype(np.float32)
    graph = helper.make_graph(
        [
            helper.make_node("Flatten", ["pixels"], ["flat"]),
            helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        ],
        "tiny",
        [helper.make_tensor_value_info("pixels", TensorProto.FLOAT, [1, SIDE, SIDE, 1])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, len(FER2013_LABELS)])],
        [numpy_helper.from_array(weights, "weights")],
    )
    path = folder / "onnx_float32.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    table = json.loads((folder / MANIFEST_NAME).read_text())
    entry = {
        **table["variants"]["float32"],
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
    }
    write_manifest(folder, {**table, "variants": {**table["variants"], path.stem: entry}})
    return folder


def random_faces(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Smooth random images, uint8 [count, 48, 48]: nearer to faces than white noise is."""
    import cv2

    coarse = np.random.default_rng(seed).integers(0, 256, (count, 6, 6), dtype=np.uint8)
    return np.stack([cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_CUBIC) for image in coarse])


def _representative(seed: int) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    extremes = np.stack([np.zeros((SIDE, SIDE)), np.full((SIDE, SIDE), 255.0)])
    images = np.concatenate([extremes, random_faces(30, seed)]).astype(np.float32)
    return list(images[:, np.newaxis, :, :, np.newaxis])


def _variant(path: Path) -> dict[str, Any]:
    model = LiteRtModel(path)
    return {
        "file": path.name,
        "sha256": file_sha256(path),
        "bytes": path.stat().st_size,
        "io": {**_side("input", model.input_details), **_side("output", model.output_details)},
        "accuracy": {},
    }


def _side(name: str, details: TensorDetails) -> dict[str, Any]:
    return {
        f"{name}_dtype": details.dtype,
        f"{name}_scale": details.scale,
        f"{name}_zero_point": details.zero_point,
    }
