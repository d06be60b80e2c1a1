"""Soft labels: a teacher's probabilities for the Training images, in a file for distillation."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from fer_edge.errors import InputError, ModelError
from fer_edge.model.bundle import load_bundle
from fer_edge.model.manifest import MANIFEST_NAME
from fer_edge.model.quantization import softmax
from fer_edge.stages.classification import EmotionClassifier
from fer_edge.system.files import write_bytes_atomically
from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.samples import Dataset
from fer_train.networks.model_files import check_contract, check_model_file, load_model, predict_logits
from fer_train.splits import TRAINING


def predict_soft_labels(models: Sequence[Path], dataset: Dataset, temperature: float = 1.0) -> Float32Array:
    """Return probabilities float32 [Training rows, labels]: the mean over ``models``, images and mirror images.

    A model is a .keras file or the folder of a bundle, whose float32 variant is used.

    Raises:
        InputError: if the data set has no Training image, or a model is missing.
        ModelError: if a model is not for these images and labels.
    """
    images = dataset.splits[TRAINING].images
    if not len(images):
        raise InputError(f"{dataset.name}: contains no Training images for a teacher")
    for path in models:
        if not is_bundle(path):
            check_model_file(path)
    return _mean(
        [
            (_bundle_probabilities if is_bundle(path) else _keras_probabilities)(path, images, dataset, temperature)
            for path in models
        ]
    )


def is_bundle(path: Path) -> bool:
    """Return whether ``path`` is the folder of a model bundle, not of a run and not a .keras file."""
    return (path / MANIFEST_NAME).is_file()


def _bundle_probabilities(path: Path, images: UInt8Array, dataset: Dataset, temperature: float) -> Float32Array:
    with load_bundle(path) as bundle, EmotionClassifier(bundle, "float32") as classifier:
        size = classifier.crop_spec
        if (size.height, size.width) != images.shape[1:] or classifier.labels != dataset.labels:
            raise ModelError(
                f"{path}: takes {size.width} x {size.height} pixels and knows {', '.join(classifier.labels)}; "
                f"not made for {dataset.name}"
            )
        views = (images, images[:, :, ::-1])
        return _mean([softmax(np.stack([classifier.logits(image) for image in view]), temperature) for view in views])


def _keras_probabilities(path: Path, images: UInt8Array, dataset: Dataset, temperature: float) -> Float32Array:
    model = load_model(path)
    check_contract(path, model, dataset.labels)
    if model.input_shape[1:3] != images.shape[1:]:
        raise ModelError(f"{path}: takes {model.input_shape}; wanted {images.shape[1:]} grey pixels")
    views = [softmax(predict_logits(model, view), temperature) for view in (images, images[:, :, ::-1])]
    return _mean(views)


def _mean(parts: Sequence[Float32Array]) -> Float32Array:
    mean: Float32Array = np.mean(parts, axis=0).astype(np.float32)
    return mean


def write_soft_labels(path: Path, probabilities: Float32Array, dataset: Dataset) -> None:
    """Write ``probabilities`` [Training rows, labels] as float16 with the hash of the data; 0.4 MB for FER2013."""
    content = io.BytesIO()
    np.savez_compressed(content, probabilities=probabilities.astype(np.float16), rows_sha256=dataset.rows_sha256)
    write_bytes_atomically(path, content.getvalue())


def read_soft_labels(path: Path, dataset: Dataset) -> Float32Array:
    """Read what ``write_soft_labels`` wrote, normalized again.

    Raises:
        InputError: if the file is missing, damaged or belongs to other data.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            probabilities = np.asarray(file["probabilities"], dtype=np.float32)
            rows_sha256 = str(file["rows_sha256"])
    except OSError as error:
        raise InputError(f"{path}: cannot read the teacher's soft labels: {error.strerror or error}") from None
    except (ValueError, TypeError, KeyError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise InputError(f"{path}: not a file of soft labels: {error}") from None
    if rows_sha256 != dataset.rows_sha256 or probabilities.shape != (
        len(dataset.splits[TRAINING]),
        len(dataset.labels),
    ):
        raise InputError(f"{path}: these soft labels are of another data set than {dataset.name}")
    if not (np.isfinite(probabilities).all() and (probabilities >= 0).all() and probabilities.any(axis=1).all()):
        raise InputError(f"{path}: not a file of soft labels: some rows are not probabilities")
    normalized: Float32Array = probabilities / probabilities.sum(axis=1, keepdims=True)
    return normalized
