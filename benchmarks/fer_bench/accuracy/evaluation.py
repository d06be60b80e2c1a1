"""Accuracy of a model on one split of a data set."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_bench import metrics
from fer_bench.metrics import ClassScore, IntArray
from fer_bench.results import ShareResult
from fer_bench.runners import ModelRunner
from fer_edge.errors import InputError, ModelError
from fer_edge.model.quantization import softmax
from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.dataset import Dataset


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """The results of one model on one split.

    ``confusion`` is int64 [labels, labels] (rows: true), ``probabilities`` float32 [N, labels] at
    ``temperature``, ``predictions`` and ``truth`` int64 [N]; shares are 0..1, ``interval`` is Wilson's at 95 %.
    """

    model: str
    split: str
    labels: tuple[str, ...]
    n: int
    correct: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    ece: float
    temperature: float
    classes: tuple[ClassScore, ...]
    confusion: IntArray
    probabilities: Float32Array
    predictions: IntArray
    truth: IntArray


def split_of(dataset: Dataset, name: str) -> tuple[UInt8Array, IntArray]:
    """Return images uint8 [N, H, W] and labels int64 [N] of a split. Raises InputError if it has no image."""
    split = dataset.splits.get(name)
    if split is None or len(split) == 0:
        known = ", ".join(dataset.shown(key) for key, value in dataset.splits.items() if len(value.labels))
        shown = dataset.shown(name) if name in dataset.splits else name
        raise InputError(f"{dataset.name}: no images in {shown!r}; the splits with images are {known or 'none'}")
    return split.images, np.asarray(split.labels, dtype=np.int64)


def run_on_split(runner: ModelRunner, dataset: Dataset, split: str) -> Float32Array:
    """Return logits float32 [N, labels] of a split; columns are in the data set's label order."""
    return logits_of(runner, split_of(dataset, split)[0], dataset)


def logits_of(runner: ModelRunner, images: UInt8Array, dataset: Dataset) -> Float32Array:
    """Return logits float32 [N, labels] of uint8 [N, H, W]; columns are in the label order of ``dataset``."""
    logits = runner.logits(images)
    if runner.labels is None:
        if logits.shape[1] != len(dataset.labels):
            raise ModelError(
                f"{runner.name}: {logits.shape[1]} outputs, but the data set has {len(dataset.labels)} labels"
            )
        return logits
    if set(runner.labels) != set(dataset.labels):
        theirs, ours = ", ".join(runner.labels), ", ".join(dataset.labels)
        raise InputError(
            f"{runner.name}: its labels ({theirs}) are not the data set's ({ours}); set data.labels in a recipe"
        )
    return logits[:, [runner.labels.index(label) for label in dataset.labels]]


def evaluate_logits(
    logits: Float32Array, truth: IntArray, *, model: str, split: str, labels: tuple[str, ...], temperature: float
) -> Evaluation:
    """Return all statistics of ``logits`` [N, labels] for ``truth`` [N]."""
    predictions = logits.argmax(axis=1)
    probabilities = softmax(logits, temperature)
    scores = metrics.class_scores(truth, predictions, len(labels))
    correct = int(np.sum(predictions == truth))
    return Evaluation(
        model=model,
        split=split,
        labels=labels,
        n=len(truth),
        correct=correct,
        accuracy=correct / len(truth),
        interval=metrics.accuracy_interval(correct, len(truth)),
        balanced_accuracy=metrics.balanced_accuracy(truth, predictions),
        ece=metrics.expected_calibration_error(probabilities, truth),
        temperature=temperature,
        classes=scores,
        confusion=metrics.confusion_matrix(truth, predictions, len(labels)),
        probabilities=probabilities,
        predictions=predictions,
        truth=truth,
    )


def evaluate(runner: ModelRunner, dataset: Dataset, split: str) -> Evaluation:
    """Run ``runner`` on a split and return all statistics."""
    logits = run_on_split(runner, dataset, split)
    return evaluate_logits(
        logits,
        split_of(dataset, split)[1],
        model=runner.name,
        split=dataset.shown(split),
        labels=dataset.labels,
        temperature=runner.temperature,
    )


def share(right: npt.NDArray[np.bool_]) -> ShareResult | None:
    """Return the share of True in ``right`` [N] with Wilson's 95 % interval; None for N = 0."""
    n, correct = len(right), int(right.sum())
    return ShareResult(n, correct, correct / n, *metrics.accuracy_interval(correct, n)) if n else None
