"""Each statistic is compared with a value computed by hand and, if possible, by brute force."""

from __future__ import annotations

from itertools import pairwise
from math import comb, exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from fer_bench import metrics


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def test_wilson_interval_is_the_textbook_formula():
    z, n, p = 1.959963984540054, 50, 0.8
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert metrics.accuracy_interval(40, 50) == pytest.approx((centre - half, centre + half), abs=1e-12)


def test_wilson_interval_stays_inside_0_and_1():
    assert metrics.accuracy_interval(0, 10)[0] == pytest.approx(0.0, abs=1e-12)
    assert metrics.accuracy_interval(10, 10)[1] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(("correct", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_no_interval_without_a_proportion(correct: int, n: int):
    with pytest.raises(ValueError, match="not a proportion"):
        metrics.accuracy_interval(correct, n)


def test_confusion_scores_and_balanced_accuracy_by_hand():
    labels, predictions = [0, 0, 0, 1, 1, 2], [0, 0, 1, 1, 0, 1]
    assert metrics.confusion_matrix(labels, predictions, 4).tolist() == [
        [2, 1, 0, 0],
        [1, 1, 0, 0],
        [0, 1, 0, 0],
        [0, 0, 0, 0],
    ]
    scores = metrics.class_scores(labels, predictions, 4)
    assert scores[0] == metrics.ClassScore(pytest.approx(2 / 3), pytest.approx(2 / 3), pytest.approx(2 / 3), 3)
    assert scores[1] == metrics.ClassScore(pytest.approx(1 / 3), 0.5, pytest.approx(0.4), 2)
    assert scores[2] == metrics.ClassScore(0.0, 0.0, 0.0, 1)
    assert scores[3] == metrics.ClassScore(0.0, 0.0, 0.0, 0)
    # The class without a sample does not count.
    assert metrics.balanced_accuracy(labels, predictions) == pytest.approx((2 / 3 + 0.5 + 0) / 3)


def test_calibration_error_by_hand():
    # Two at 0.95 (one right): gap 0.45; two at 0.6 (both right): gap 0.4.
    probabilities = [[0.95, 0.05], [0.95, 0.05], [0.4, 0.6], [0.4, 0.6]]
    assert metrics.expected_calibration_error(probabilities, [0, 1, 1, 1]) == pytest.approx(0.425)


def test_calibration_error_is_zero_when_confidence_is_right():
    probabilities = np.tile([0.75, 0.25], (4, 1))
    assert metrics.expected_calibration_error(probabilities, [0, 0, 0, 1]) == pytest.approx(0.0)


def test_a_confidence_on_an_edge_belongs_to_the_lower_bin():
    bins = metrics.reliability_bins([[0.8, 0.2], [1.0, 0.0]], [0, 0], bins=5)
    assert bins.counts.tolist() == [0, 0, 0, 1, 1]


@settings(max_examples=50, deadline=None)
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 40), st.just(4)), elements=st.floats(-8, 8)),
    st.integers(1, 20),
    st.randoms(use_true_random=False),
)
def test_calibration_error_equals_brute_force(logits: np.ndarray, bins: int, random):
    probabilities = softmax(logits)
    labels = [random.randrange(4) for _ in logits]
    edges = np.linspace(0, 1, bins + 1)
    expected = 0.0
    for low, high in pairwise(edges):
        inside = [i for i, row in enumerate(probabilities) if low < max(row) <= high]
        if inside:
            right = sum(int(np.argmax(probabilities[i])) == labels[i] for i in inside) / len(inside)
            sure = sum(max(probabilities[i]) for i in inside) / len(inside)
            expected += len(inside) / len(labels) * abs(right - sure)
    assert metrics.expected_calibration_error(probabilities, labels, bins) == pytest.approx(expected, abs=1e-9)


def test_negative_log_likelihood_by_hand():
    expected = (log(1 + exp(-2)) + log(1 + exp(2))) / 2
    assert metrics.negative_log_likelihood([[2.0, 0.0], [2.0, 0.0]], [0, 1]) == pytest.approx(expected)


@pytest.mark.parametrize("truth", [0.4, 1.0, 2.5])
def test_temperature_is_recovered_and_beats_a_grid(truth: float):
    random = np.random.default_rng(7)
    calibrated = random.normal(0, 1.5, (4000, 7))
    labels = np.array([random.choice(7, p=row) for row in softmax(calibrated)])
    logits = calibrated * truth
    fitted = metrics.fit_temperature(logits, labels)
    assert fitted == pytest.approx(truth, rel=0.08)
    best = min(metrics.negative_log_likelihood(logits, labels, t) for t in np.geomspace(0.05, 20, 200))
    assert metrics.negative_log_likelihood(logits, labels, fitted) <= best + 1e-9


def test_temperature_of_a_flawless_model_is_sharp_and_finite():
    # Its likelihood has no minimum, only a plateau where float64 cannot tell 1 - 1e-17 from 1.
    logits = np.eye(7) * 5
    fitted = metrics.fit_temperature(logits, np.arange(7))
    assert 0.05 <= fitted < 0.2
    assert metrics.negative_log_likelihood(logits, np.arange(7), fitted) < 1e-12


def test_agreement_is_the_share_of_equal_maxima():
    assert metrics.agreement([[1, 0], [0, 1], [2, 1], [0, 3]], [[9, 8], [1, 0], [1, 0], [0, 1]]) == 0.75


@pytest.mark.parametrize(("only_first", "only_second"), [(1, 9), (5, 5), (0, 0), (12, 3), (0, 4)])
def test_mcnemar_is_the_two_sided_binomial(only_first: int, only_second: int):
    first = [True] * 20 + [True] * only_first + [False] * only_second
    second = [True] * 20 + [False] * only_first + [True] * only_second
    n, k = only_first + only_second, min(only_first, only_second)
    expected = min(1.0, 2 * sum(comb(n, i) for i in range(k + 1)) / 2**n)
    p = metrics.mcnemar_p(first, second)
    assert p == pytest.approx(expected)
    assert p <= 1  # without any tolerance: where both are right equally often, the doubled tail exceeds 1


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=60))
def test_macro_f1_of_a_confusion_matrix_is_that_of_its_images(pairs: list[tuple[int, int]]):
    from sklearn.metrics import f1_score  # not in each process that collects the tests: 1.5 s

    truth, named = zip(*pairs, strict=True)
    expected = f1_score(truth, named, average="macro", zero_division=0.0)
    assert metrics.macro_f1(metrics.confusion_matrix(truth, named, 4)) == pytest.approx(expected)


def test_unequal_or_empty_inputs_are_refused():
    with pytest.raises(ValueError, match="got 2 and 1"):
        metrics.agreement([[1, 0], [0, 1]], [[1, 0]])
    with pytest.raises(ValueError, match="at least one"):
        metrics.expected_calibration_error(np.empty((0, 7)), [])
