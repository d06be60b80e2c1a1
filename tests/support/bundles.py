"""A tiny but real model bundle: Keras to TFLite, float32 and int8, to the contract of a shipped one."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np

from fer_edge.bundle import file_sha256, write_manifest
from fer_edge.interpreter import LiteRtModel, TensorDetails
from fer_edge.labels import FER2013_LABELS

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
