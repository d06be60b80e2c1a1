"""What the commands that try exports out have in common: the images they are measured on, and one run over them."""

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
from fer_train.backend import load_keras, predict_logits
from fer_train.dataset import Dataset, load_dataset

_SEED = 20130701


@dataclass(frozen=True, slots=True, eq=False)
class Trial:
    """A Keras model and the PublicTest images, uint8 [N, H, W], that its exports are measured on.

    ``truth`` is int64 [N], ``reference`` the Keras model's logits, float32 [N, labels].
    """

    source: SourceModel
    dataset: Dataset
    images: UInt8Array
    truth: npt.NDArray[np.int64]
    reference: Float32Array

    def logits(self, content: bytes, *, float_logits: bool = False) -> Float32Array:
        """Logits float32 [N, labels] of a ``.tflite`` file like ``convert``'s int8, on the runtime of the device.

        ``float_logits``: the file gives them as float32. Raises ModelError when it fails one of ``convert``'s checks.
        """
        spec = replace(VARIANTS["int8"], output_dtype="float32") if float_logits else VARIANTS["int8"]
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "int8.tflite"
            path.write_bytes(content)
            source = self.source
            # Its size is not checked: layers left in float make it as large as they please.
            io = check_file(path, spec, source.size, len(source.labels), params=0)
            model = LiteRtModel(path)
            try:
                raw = [model.invoke(image[np.newaxis, :, :, np.newaxis])[0] for image in self.images]
            finally:
                model.close()
        return io.output.dequantize(np.stack(raw))

    def accuracy(self, logits: Float32Array) -> ShareResult:
        """Top-1 of ``logits`` [N, labels] with Wilson's 95 % interval."""
        found = share(logits.argmax(axis=1) == self.truth)
        if found is None:
            raise AssertionError("a trial has one image at least")
        return found

    def agreement(self, logits: Float32Array) -> float:
        """Share of the images, 0..1, on which ``logits`` [N, labels] have the Keras model's top label."""
        return metrics.agreement(logits, self.reference)

    def describe_data(self) -> DatasetInfo:
        """Which data set the images are from."""
        return DatasetInfo(self.dataset.name, self.dataset.rows_sha256)


def open_trial(model: Path, data: Path | None, count: int | None) -> Trial:
    """Load what a trial needs; ``count`` None means all of PublicTest, else that many rows of it, the same each time.

    Raises InputError or ModelError for a model or data that cannot be used, MissingExtraError without TensorFlow.
    """
    # What fails comes in the order of how fast it does.
    locate_model(model)
    dataset = load_dataset(data)
    load_keras("tensorflow", extra="convert")
    source = open_source_model(model)
    split = check_data(source, dataset)
    rows = np.arange(len(split))
    if count is not None and count < len(rows):
        rows = np.sort(np.random.default_rng(_SEED).choice(rows, count, replace=False))
    images = split.images[rows]
    return Trial(source, dataset, images, split.labels[rows].astype(np.int64), predict_logits(source.keras, images))
