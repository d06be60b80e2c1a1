"""Accuracy of a bundle's variants on one split, compared with float32 image by image."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from fer_bench import metrics
from fer_bench.accuracy.evaluation import Evaluation, evaluate, share
from fer_bench.accuracy.groups import Groups, by_group
from fer_bench.accuracy.views import VIEWED, views_of
from fer_bench.metrics import IntArray
from fer_bench.results import REFERENCE, AccuracyResult, ClassRecall, ReliabilityBin
from fer_bench.results.hex_bits import to_hex
from fer_bench.runners import BundleRunner, ModelRunner
from fer_edge.errors import InputError
from fer_edge.model.bundle import ModelBundle
from fer_edge.types import Float32Array
from fer_train.data.dataset import Dataset, distinct_test, leak_free_test
from fer_train.data.ferplus import load_votes, majority_labels

OpenVariant = Callable[[ModelBundle, str], ModelRunner]


@dataclass(frozen=True, slots=True, eq=False)
class Yardsticks:
    """Subsets and other labels of a split.

    ``leak_free`` int64 [K] are the rows without an exact duplicate in another split, ``distinct`` int64 [L] those
    without a near duplicate in Training either. ``majority`` int64 [N] is the most frequent label of FER+'s raters (-1:
    none), or None without votes.
    """

    leak_free: IntArray
    distinct: IntArray
    majority: IntArray | None


@dataclass(frozen=True, slots=True, eq=False)
class Further:
    """What is measured beyond top-1.

    ``votes`` are from ``ferplus_votes`` (None: no accuracy by FER+), ``groups`` from ``read_groups``; ``views``: also
    the mean of several views of each image.
    """

    votes: dict[str, Float32Array] | None = None
    groups: Groups | None = None
    views: bool = False


def ferplus_votes(dataset: Dataset, source: Path | None) -> dict[str, Float32Array] | None:
    """Return FER+'s votes by split for the data from ``source``; None, and a line on stderr, if there are none."""
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
    further: Further = Further(),
    open_variant: OpenVariant = BundleRunner,
) -> dict[str, AccuracyResult]:
    """Measure ``variants`` on one split, and compare each with float32 if that is one of them.

    ``open_variant`` returns what computes the logits, here or on a device.
    """
    votes, groups = further.votes, further.groups
    majority = None if votes is None else majority_labels(votes[split], dataset.labels)
    yardsticks = Yardsticks(leak_free_test(dataset, split), distinct_test(dataset, split), majority)
    found, several = {}, {}
    for name in variants:
        with open_variant(bundle, name) as runner:
            found[name] = evaluate(runner, dataset, split)
            several[name] = views_of(runner, dataset, split) if further.views and name in VIEWED else {}
    reference = found.get(REFERENCE)
    results = {
        name: msgspec.structs.replace(
            compare(evaluation, None if name == REFERENCE else reference, yardsticks), **several[name]
        )
        for name, evaluation in found.items()
    }
    if groups is None:
        return results
    return {
        name: msgspec.structs.replace(result, attributes=by_group(found[name], groups, split))
        for name, result in results.items()
    }


def compare(evaluation: Evaluation, reference: Evaluation | None, yardsticks: Yardsticks) -> AccuracyResult:
    """Return the part of a report for ``evaluation``, compared with ``reference`` on the same images."""
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


def _recalls(evaluation: Evaluation, reference: Evaluation | None) -> tuple[ClassRecall, ...]:
    """Return the recall of each label, with its change from ``reference``."""
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
