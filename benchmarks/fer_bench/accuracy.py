"""Accuracy of a model on one split of a data set, and of a bundle's variants against its float32."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from fer_bench import metrics
from fer_bench.hex_bits import to_hex
from fer_bench.metrics import ClassScore, IntArray
from fer_bench.results import REFERENCE, AccuracyResult, ClassRecall, ReliabilityBin, ShareResult
from fer_bench.runners import BundleRunner, ModelRunner
from fer_edge.errors import InputError, ModelError
from fer_edge.model.bundle import ModelBundle
from fer_edge.model.quantization import softmax
from fer_edge.types import Float32Array, UInt8Array
from fer_train.data.dataset import Dataset, distinct_test, leak_free_test
from fer_train.data.ferplus import load_votes, majority_labels


@dataclass(frozen=True, slots=True, eq=False)
class Evaluation:
    """What one model does on one split.

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


@dataclass(frozen=True, slots=True, eq=False)
class Yardsticks:
    """What else than its labels a split is measured by.

    ``leak_free`` int64 [K] are the rows to count when no image may stand elsewhere too, ``distinct`` int64 [L] those
    when none may nearly stand in Training either, ``majority`` int64 [N] the
    label that FER+'s raters gave each image most often (-1: none; None: there are no votes).
    """

    leak_free: IntArray
    distinct: IntArray
    majority: IntArray | None


def split_of(dataset: Dataset, name: str) -> tuple[UInt8Array, IntArray]:
    """Images uint8 [N, H, W] and labels int64 [N] of a split. Raises InputError when it has no image."""
    split = dataset.splits.get(name)
    if split is None or len(split) == 0:
        known = ", ".join(dataset.shown(key) for key, value in dataset.splits.items() if len(value.labels))
        shown = dataset.shown(name) if name in dataset.splits else name
        raise InputError(f"{dataset.name}: no images in {shown!r}; the splits with images are {known or 'none'}")
    return split.images, np.asarray(split.labels, dtype=np.int64)


def run_on_split(runner: ModelRunner, dataset: Dataset, split: str) -> Float32Array:
    """Logits float32 [N, labels] of a split, columns in the data set's label order."""
    images, _ = split_of(dataset, split)
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
            f"{runner.name}: its labels ({theirs}) are not the data set's ({ours}); data.labels of a recipe names them"
        )
    return logits[:, [runner.labels.index(label) for label in dataset.labels]]


def evaluate_logits(
    logits: Float32Array, truth: IntArray, *, model: str, split: str, labels: tuple[str, ...], temperature: float
) -> Evaluation:
    """All statistics of ``logits`` [N, labels] against ``truth`` [N]."""
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
        balanced_accuracy=metrics.balanced_accuracy(scores),
        ece=metrics.expected_calibration_error(probabilities, truth),
        temperature=temperature,
        classes=scores,
        confusion=metrics.confusion_matrix(truth, predictions, len(labels)),
        probabilities=probabilities,
        predictions=predictions,
        truth=truth,
    )


def evaluate(runner: ModelRunner, dataset: Dataset, split: str) -> Evaluation:
    """Run ``runner`` on a split and take every statistic."""
    logits = run_on_split(runner, dataset, split)
    return evaluate_logits(
        logits,
        split_of(dataset, split)[1],
        model=runner.name,
        split=dataset.shown(split),
        labels=dataset.labels,
        temperature=runner.temperature,
    )


def ferplus_votes(dataset: Dataset, source: Path | None) -> dict[str, Float32Array] | None:
    """FER+'s votes, by split, for what was read from ``source``; None where they cannot be had: stderr says why."""
    try:
        return load_votes(dataset, source)
    except InputError as error:
        sys.stderr.write(f"fer-edge: accuracy by FER+ is left out: {error}\n")
        return None


def measure_accuracy(
    bundle: ModelBundle,
    variants: tuple[str, ...],
    dataset: Dataset,
    split: str,
    votes: dict[str, Float32Array] | None = None,
) -> dict[str, AccuracyResult]:
    """Every variant of ``variants`` on one split, each compared with float32 where that is among them.

    ``votes`` are FER+'s, as ``ferplus_votes`` gives them; without them there is no accuracy by FER+.
    """
    majority = None if votes is None else majority_labels(votes[split], dataset.labels)
    yardsticks = Yardsticks(leak_free_test(dataset, split), distinct_test(dataset, split), majority)
    found = {}
    for name in variants:
        with BundleRunner(bundle, name) as runner:
            found[name] = evaluate(runner, dataset, split)
    reference = found.get(REFERENCE)
    return {
        name: compare(evaluation, None if name == REFERENCE else reference, yardsticks)
        for name, evaluation in found.items()
    }


def compare(evaluation: Evaluation, reference: Evaluation | None, yardsticks: Yardsticks) -> AccuracyResult:
    """The short form of ``evaluation``, set against ``reference`` on the same images and measured by ``yardsticks``."""
    right = evaluation.predictions == evaluation.truth
    together: tuple[float | None, float | None] = (None, None)
    if reference is not None:
        together = (
            metrics.agreement(evaluation.probabilities, reference.probabilities),
            metrics.mcnemar_p(right, reference.predictions == reference.truth),
        )
    majority = yardsticks.majority
    ferplus = None if majority is None else share((evaluation.predictions == majority)[majority >= 0])
    return AccuracyResult(
        split=evaluation.split,
        n=evaluation.n,
        correct=evaluation.correct,
        accuracy=evaluation.accuracy,
        low=evaluation.interval[0],
        high=evaluation.interval[1],
        balanced_accuracy=evaluation.balanced_accuracy,
        ece=evaluation.ece,
        temperature=evaluation.temperature,
        agreement=together[0],
        mcnemar_p=together[1],
        leak_free=share(right[yardsticks.leak_free]),
        ferplus=ferplus,
        classes=_recalls(evaluation, reference),
        confusion=tuple(tuple(row) for row in evaluation.confusion.tolist()),
        reliability=_reliability(evaluation),
        right=to_hex(right),
        distinct=share(right[yardsticks.distinct]),
    )


def _reliability(evaluation: Evaluation) -> tuple[ReliabilityBin, ...]:
    bins = metrics.reliability_bins(evaluation.probabilities, evaluation.truth)
    columns = (bins.counts.tolist(), bins.confidence.tolist(), bins.accuracy.tolist())
    return tuple(ReliabilityBin(*values) for values in zip(*columns, strict=True))


def share(right: npt.NDArray[np.bool_]) -> ShareResult | None:
    """The share of True in ``right`` [N] with Wilson's 95 % interval, None for N = 0."""
    n, correct = len(right), int(right.sum())
    return ShareResult(n, correct, correct / n, *metrics.accuracy_interval(correct, n)) if n else None


def _recalls(evaluation: Evaluation, reference: Evaluation | None) -> tuple[ClassRecall, ...]:
    """Recall of each label, with its change against ``reference``."""
    support = evaluation.confusion.sum(axis=1)
    correct = evaluation.confusion.diagonal()
    before = correct if reference is None else reference.confusion.diagonal()
    return tuple(
        ClassRecall(
            label,
            n,
            right,
            recall=right / n if n else None,
            change=(right - was) / n if n and reference is not None else None,
        )
        for label, n, right, was in zip(
            evaluation.labels, support.tolist(), correct.tolist(), before.tolist(), strict=True
        )
    )
