"""A Keras model and the images on which its int8 exports are measured, for ``bench layers`` and ``bench study``."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_bench import metrics
from fer_bench.accuracy import share
from fer_bench.results import DatasetInfo, ShareResult
from fer_convert.checks import check_file
from fer_convert.convert import check_data
from fer_convert.export.variants import VARIANTS
from fer_convert.source_model import SourceModel, locate_model, open_source_model
from fer_edge.model.interpreter import LiteRtModel
from fer_edge.types import Float32Array, UInt8Array
from fer_train.backend import load_keras
from fer_train.data.dataset import Dataset, load_dataset
from fer_train.networks.model_files import predict_logits

_SEED = 20130701


@dataclass(frozen=True, slots=True, eq=False)
class Experiment:
    """A Keras model and the images on which its exports are measured.

    Attributes:
        source: The model.
        dataset: The data set of the images, and of those that calibrate.
        images: Images of PublicTest, uint8 [N, H, W].
        truth: Their labels, int64 [N].
        reference: The Keras model's logits, float32 [N, labels].
    """

    source: SourceModel
    dataset: Dataset
    images: UInt8Array
    truth: npt.NDArray[np.int64]
    reference: Float32Array

    def logits(self, content: bytes, *, float_logits: bool = False) -> Float32Array:
        """Return the logits of a ``.tflite`` file with uint8 input, float32 [N, labels], on the runtime of the device.

        ``float_logits``: the output is float32 instead of int8. Raises ModelError if the file fails a check.
        """
        spec = replace(VARIANTS["int8"], output_dtype="float32") if float_logits else VARIANTS["int8"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.tflite"
            path.write_bytes(content)
            source = self.source
            # params=0: the size is not checked, since it depends on the layers that remain in float.
            io = check_file(path, spec, source.size, len(source.labels), params=0)
            model = LiteRtModel(path)
            try:
                raw = [model.invoke(image[np.newaxis, :, :, np.newaxis])[0] for image in self.images]
            finally:
                model.close()
        return io.output.dequantize(np.stack(raw))

    def accuracy(self, logits: Float32Array) -> ShareResult:
        """Return the top-1 accuracy of ``logits`` [N, labels] with Wilson's 95 % interval."""
        found = share(logits.argmax(axis=1) == self.truth)
        if found is None:
            raise AssertionError("an experiment has at least one image")
        return found

    def agreement(self, logits: Float32Array) -> float:
        """Return the share of images, 0..1, on which ``logits`` [N, labels] have the Keras model's top label."""
        return metrics.agreement(logits, self.reference)

    def describe_data(self) -> DatasetInfo:
        """Return name and hash of the data set."""
        return DatasetInfo(self.dataset.name, self.dataset.rows_sha256)


def open_experiment(model: Path, data: Path | None, count: int | None) -> Experiment:
    """Load model and data.

    Args:
        model: A ``.keras`` file, or the folder of a run.
        data: The data set; None for FER2013 in its usual places.
        count: Number of PublicTest images, always the same ones; None for all.

    Raises:
        InputError: If the data set cannot be used.
        ModelError: If the model cannot be used.
        MissingExtraError: If TensorFlow is not installed.
    """
    # The fastest checks first.
    locate_model(model)
    dataset = load_dataset(data)
    load_keras("tensorflow", extra="convert")
    source = open_source_model(model)
    split = check_data(source, dataset)
    rows = np.arange(len(split))
    if count is not None and count < len(rows):
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, count, replace=False))
    images = split.images[rows]
    return Experiment(
        source, dataset, images, split.labels[rows].astype(np.int64), predict_logits(source.keras, images)
    )
