"""Statistics of a classifier, as pure functions of NumPy arrays.

``labels`` and ``predictions`` are integer arrays [N] of class indices, ``probabilities`` and ``logits``
float arrays [N, classes]. An empty set has no accuracy: the functions raise ValueError for N = 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from fer_bench.extras import require

IntArray = npt.NDArray[np.int64]
FloatArray = npt.NDArray[np.float64]

ECE_BINS = 15
"""Equal-width bins of Guo et al., 2017, arXiv:1706.04599, section 2."""
_Z_95 = 1.959964
"""Two-sided 95 % point of the standard normal distribution."""
_LOG_TEMPERATURE = (np.log(0.05), np.log(20.0))
"""Bounds of the search. Beyond them, a model is perfect or useless."""


@dataclass(frozen=True, slots=True)
class ClassScore:
    """Scores of one class, 0..1 (0 if undefined); ``support`` is the number of samples with its label."""

    precision: float
    recall: float
    f1: float
    support: int


@dataclass(frozen=True, slots=True, eq=False)
class ReliabilityBins:
    """Confidence and accuracy, one entry per bin; the means are 0 if ``counts`` is 0."""

    edges: FloatArray
    counts: IntArray
    confidence: FloatArray
    accuracy: FloatArray


def accuracy_interval(correct: int, n: int) -> tuple[float, float]:
    """Return Wilson's 95 % score interval (low, high) of ``correct`` successes in ``n`` trials (Wilson, 1927)."""
    if not 0 <= correct <= n or n == 0:
        raise ValueError(f"{correct} correct of {n} is not a proportion")
    proportion = require("statsmodels.stats.proportion")
    low, high = proportion.proportion_confint(correct, n, alpha=0.05, method="wilson")
    return float(low), float(high)


def confusion_matrix(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> IntArray:
    """Return counts, int64 [classes, classes]: rows are true labels, columns predictions."""
    _same_length(labels, predictions)
    matrix = require("sklearn.metrics").confusion_matrix(labels, predictions, labels=np.arange(classes))
    return np.asarray(matrix, dtype=np.int64)


def class_scores(labels: npt.ArrayLike, predictions: npt.ArrayLike, classes: int) -> tuple[ClassScore, ...]:
    """Return precision, recall, F1 and support of each class, in label order."""
    _same_length(labels, predictions)
    columns = require("sklearn.metrics").precision_recall_fscore_support(
        labels, predictions, labels=np.arange(classes), zero_division=0.0
    )
    return tuple(
        ClassScore(float(precision), float(recall), float(f1), int(support))
        for precision, recall, f1, support in zip(*columns, strict=True)
    )


def balanced_accuracy(labels: npt.ArrayLike, predictions: npt.ArrayLike) -> float:
    """Return the mean recall over the classes that occur (Brodersen et al., 2010, doi:10.1109/ICPR.2010.764)."""
    _same_length(labels, predictions)
    # Not balanced_accuracy_score, which is the same, but warns of predictions of a class that does not occur.
    recall = require("sklearn.metrics").recall_score(labels, predictions, labels=np.unique(labels), average="macro")
    return float(recall)


def macro_f1(confusion: npt.ArrayLike) -> float:
    """Return the mean F1 over the classes that occur, or are predicted, in ``confusion`` (rows: true); 0 if empty."""
    counts = np.asarray(confusion)
    rows, columns = np.nonzero(counts)
    if not len(rows):
        return 0.0
    weights = counts[rows, columns]
    return float(require("sklearn.metrics").f1_score(rows, columns, sample_weight=weights, average="macro"))


def reliability_bins(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = ECE_BINS) -> ReliabilityBins:
    """Sort samples by the confidence of their top class into ``bins`` bins of equal width ((low, high])."""
    scores = np.asarray(probabilities, dtype=np.float64)
    _same_length(scores, labels)
    confidence = scores.max(axis=1)
    right = scores.argmax(axis=1) == np.asarray(labels)
    edges = np.linspace(0.0, 1.0, bins + 1)
    place = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    counts = np.bincount(place, minlength=bins)
    divisor = np.maximum(counts, 1)
    return ReliabilityBins(
        edges,
        counts.astype(np.int64),
        np.bincount(place, weights=confidence, minlength=bins) / divisor,
        np.bincount(place, weights=right, minlength=bins) / divisor,
    )


def expected_calibration_error(probabilities: npt.ArrayLike, labels: npt.ArrayLike, bins: int = ECE_BINS) -> float:
    """Return the mean gap between confidence and accuracy, 0..1, weighted by bin size.

    Naeini et al., 2015 (AAAI, "Obtaining well calibrated probabilities using Bayesian binning"); equation 3
    of Guo et al., 2017, arXiv:1706.04599.
    """
    found = reliability_bins(probabilities, labels, bins)
    return float(np.sum(found.counts * np.abs(found.accuracy - found.confidence)) / found.counts.sum())


def negative_log_likelihood(logits: npt.ArrayLike, labels: npt.ArrayLike, temperature: float = 1.0) -> float:
    """Return the mean of -log softmax(logits / temperature)[label], in nats."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    _same_length(scaled, labels)
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    chosen = np.take_along_axis(shifted, np.asarray(labels, dtype=np.int64)[:, None], axis=1)[:, 0]
    return float(np.mean(log_sum - chosen))


def fit_temperature(logits: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Return the T in 0.05..20 that minimizes the negative log-likelihood of softmax(logits / T).

    Guo et al., 2017, arXiv:1706.04599, section 4.2. The likelihood is convex in 1/T, hence has one minimum
    in log T, where the search steps evenly.
    """
    scores = np.asarray(logits, dtype=np.float64)
    _same_length(scores, labels)
    result = require("scipy.optimize").minimize_scalar(
        lambda log_t: negative_log_likelihood(scores, labels, float(np.exp(log_t))),
        bounds=_LOG_TEMPERATURE,
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(result.x))


def agreement(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Return the share of rows, 0..1, in which two score arrays [N, classes] have the same top class."""
    _same_length(first, second)
    return float(np.mean(np.argmax(first, axis=1) == np.argmax(second, axis=1)))


def mcnemar_p(first_right: npt.ArrayLike, second_right: npt.ArrayLike) -> float:
    """Return the two-sided p of McNemar's exact test for two classifiers on the same samples.

    The arguments, bool [N], are the samples on which each was right. Only samples on which they differ count (McNemar,
    1947, doi:10.1007/BF02295996). 1.0 if they never differ.
    """
    _same_length(first_right, second_right)
    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    only_first, only_second = int(np.sum(first & ~second)), int(np.sum(second & ~first))
    if only_first + only_second == 0:
        return 1.0
    table = [[int(np.sum(first & second)), only_first], [only_second, int(np.sum(~first & ~second))]]
    # The doubled tail of the binomial exceeds 1 if both were right equally often.
    return min(1.0, float(require("statsmodels.stats.contingency_tables").mcnemar(table, exact=True).pvalue))


def accuracy_change_interval(first_right: npt.ArrayLike, second_right: npt.ArrayLike) -> tuple[float, float]:
    """Return the 95 % interval (low, high) of the change of accuracy from the first to the second classifier.

    The arguments are as for ``mcnemar_p``; the result is in shares, -1..1. It is the adjusted Wald interval of Bonett
    and Price, 2012, doi:10.3102/1076998611411915, which has a width also if the two never differ.
    """
    _same_length(first_right, second_right)
    first, second = np.asarray(first_right, dtype=bool), np.asarray(second_right, dtype=bool)
    lost, gained = (float(np.sum(only) + 1) / (len(first) + 2) for only in (first & ~second, second & ~first))
    half = _Z_95 * np.sqrt((lost + gained - (gained - lost) ** 2) / (len(first) + 2))
    return max(-1.0, gained - lost - float(half)), min(1.0, gained - lost + float(half))


def _same_length(first: npt.ArrayLike, second: npt.ArrayLike) -> None:
    lengths = len(np.asarray(first)), len(np.asarray(second))
    if lengths[0] != lengths[1] or lengths[0] == 0:
        raise ValueError(f"needs arrays of equal length with at least one element; got {lengths[0]} and {lengths[1]}")
