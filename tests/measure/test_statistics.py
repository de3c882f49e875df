"""Intervals and tests against other programs' answers, and against simulations with known truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve

from utils.measure import statistics


@given(n=st.integers(1, 5000), share=st.floats(0, 1), confidence=st.sampled_from([0.8, 0.95, 0.99]))
def test_wilson_equals_its_formula(n, share, confidence):
    from statistics import NormalDist

    correct = round(share * n)
    z, p = NormalDist().inv_cdf((1 + confidence) / 2), correct / n
    middle = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    found = statistics.wilson(correct, n, confidence)
    assert (found.low, found.high) == pytest.approx((middle - half, middle + half), abs=1e-9)
    assert found.value == p
    assert p in found or math.isclose(p, found.low, abs_tol=1e-9) or math.isclose(p, found.high, abs_tol=1e-9)


@pytest.mark.parametrize(
    ("arguments", "error", "sentence"),
    [
        ((1, 0), ValueError, "n at least 1"),
        ((5, 4), ValueError, "correct=5 of n=4"),
        ((-1, 4), ValueError, "correct=-1"),
        ((0.9, 4), TypeError, "correct=0.9; pass a whole number"),
        ((True, 4), TypeError, "correct=True"),
        ((1, 4, 95), ValueError, "confidence=95"),
    ],
)
def test_wilson_refuses(arguments, error, sentence):
    with pytest.raises(error, match=sentence):
        statistics.wilson(*arguments)


def test_accuracy_per_class_by_hand():
    outputs = np.eye(3)[[0, 0, 1, 2, 2, 2]]
    y = np.array([0, 1, 1, 2, 2, 0], np.uint8)
    assert statistics.correct(outputs, y).tolist() == [True, False, True, True, True, False]
    assert statistics.accuracy(outputs, y).value == 4 / 6
    found = {label: interval.value for label, interval in statistics.per_class_accuracy(outputs, y).items()}
    assert found == {0: 0.5, 1: 0.5, 2: 1.0}


def test_one_output_column_means_two_classes():
    p = np.array([[0.2], [0.7], [0.9]])
    assert statistics.predicted(p).tolist() == [0, 1, 1]
    assert statistics.accuracy(p, np.array([[0], [1], [0]])).value == 2 / 3
    assert statistics.predicted(np.array([0.0, 1.0])).tolist() == [0, 1]  # the ends are probabilities
    for beyond in (-1e-6, 1 + 1e-6, 2.0):
        with pytest.raises(ValueError, match="apply the sigmoid to logits"):
            statistics.predicted(np.array([[0.5], [beyond]]))


def test_of_two_logits_that_no_probability_tells_apart_the_larger_is_predicted():
    assert statistics.predicted(np.array([[-1e-18, 0.0, -2e-18], [-3e-18, -2e-18, -1e-18]])).tolist() == [1, 2]


OUTPUTS = np.eye(3)[[0, 1, 2, 1]]


@pytest.mark.parametrize(
    ("outputs", "y", "error", "sentence"),
    [
        (OUTPUTS, [0, 1, 2], ValueError, "3 labels for 4 outputs"),
        (OUTPUTS, [0, 1, 2, 3], ValueError, "labels go from 0 to 3"),
        (OUTPUTS, [0, 1, 2, -1], ValueError, "labels go from -1"),
        (OUTPUTS, [0.0, 1.0, 2.0, 1.0], TypeError, "labels are float64"),
        (OUTPUTS, OUTPUTS, ValueError, "not one-hot rows"),
        (OUTPUTS * np.nan, [0, 1, 2, 1], ValueError, "NaN"),
        (OUTPUTS[:0], [], ValueError, "outputs are empty"),
        (OUTPUTS[None], [0], ValueError, r"pass \(n, classes\)"),
        (OUTPUTS.astype(str), [0, 1, 2, 1], TypeError, "outputs are <U"),
    ],
)
@pytest.mark.parametrize(
    "function", [statistics.accuracy, statistics.per_class_accuracy, statistics.expected_calibration_error]
)
def test_bad_data_is_refused(function, outputs, y, error, sentence):
    with pytest.raises(error, match=sentence):
        function(outputs, np.asarray(y))


def test_a_single_class_is_refused_where_it_means_nothing():
    one = np.zeros(4, int)
    assert statistics.accuracy(OUTPUTS, one).value == 0.25
    for function in (statistics.per_class_accuracy, statistics.reliability, statistics.expected_calibration_error):
        with pytest.raises(ValueError, match="all 4 labels are class 0"):
            function(OUTPUTS, one)


# --- calibration ----------------------------------------------------------------------------------------


def test_probabilities_tell_logits_from_softmax():
    logits = np.array([[1000.0, 999.0], [0.0, 0.0]])
    e = math.e
    np.testing.assert_allclose(statistics.probabilities(logits), [[e / (1 + e), 1 / (1 + e)], [0.5, 0.5]])
    eight_bit = np.array([[0.99609375, 0.0], [0.50390625, 0.50390625]], np.float32)
    np.testing.assert_allclose(statistics.probabilities(eight_bit), [[1, 0], [0.5, 0.5]], atol=1e-7)
    positive_logits = np.array([[0.2, 0.9], [0.5, 0.5]])  # the first row does not sum to 1
    assert statistics.probabilities(positive_logits)[0, 1] == pytest.approx(math.exp(0.7) / (1 + math.exp(0.7)))


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
@pytest.mark.parametrize("sharpness", [0.0, 1.0, 8.0])
def test_an_eight_bit_softmax_of_any_number_of_classes_is_not_taken_for_logits(classes, sharpness):
    logits = sharpness * np.random.default_rng(classes).normal(size=(50, classes))
    exact = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    stored = np.minimum(np.round(256 * exact), 255) / 256
    found = statistics.probabilities(stored.astype(np.float32))
    sums = stored.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, np.where(sums == 0, 1 / classes, stored / np.where(sums == 0, 1, sums)))
    np.testing.assert_allclose(found.sum(axis=1), 1)


def test_logits_near_256ths_stay_logits():
    whole = np.zeros((1, 1000))
    whole[0, :3] = 1  # an 8-bit softmax has no 1
    assert statistics.probabilities(whole)[0, 0] == pytest.approx(math.e / (3 * math.e + 997))
    between = np.full((1, 1000), 0.0015)
    between[0, 0] = 0.3
    assert statistics.probabilities(between)[0, 0] < 0.002


def test_reliability_equals_scikit_learn():
    generator = np.random.default_rng(0)
    p = generator.dirichlet([1, 1, 1], 2000)
    y = generator.integers(0, 3, 2000)
    bins = statistics.reliability(p, y, 10)
    confidence, hits = p.max(axis=1), p.argmax(axis=1) == y
    share, mean = calibration_curve(hits, confidence, n_bins=10)
    np.testing.assert_allclose([b.accuracy for b in bins], share)
    np.testing.assert_allclose([b.confidence for b in bins], mean)
    assert sum(b.count for b in bins) == 2000
    assert all(b.low < b.confidence <= b.high for b in bins)


def test_a_confidence_on_the_edge_of_two_bins_belongs_to_the_lower_one():
    """Guo et al., section 2: bin m is ((m - 1) / M, m / M]."""
    p = np.array([[0.75, 0.25], [0.25, 0.75], [1.0, 0.0], [0.5, 0.5]])
    bins = statistics.reliability(p, [0, 1, 0, 1], 4)
    assert [(b.low, b.high, b.count) for b in bins] == [(0.25, 0.5, 1), (0.5, 0.75, 2), (0.75, 1.0, 1)]


def test_calibration_error_of_calibrated_and_overconfident_outputs():
    generator = np.random.default_rng(1)
    p = generator.dirichlet([1, 1, 1, 1], 40_000)
    y = (p.cumsum(axis=1) > generator.random((40_000, 1))).argmax(axis=1)  # drawn from p: calibrated by construction
    assert statistics.expected_calibration_error(p, y) < 0.015
    sharp = p**3 / (p**3).sum(axis=1, keepdims=True)
    assert statistics.expected_calibration_error(sharp, y) > 0.15
    sure = np.eye(4)[p.argmax(axis=1)]
    expected = 1 - (p.argmax(axis=1) == y).mean()
    assert statistics.expected_calibration_error(sure, y, 1) == pytest.approx(expected)


# --- pairs ----------------------------------------------------------------------------------------------


def test_mcnemar_by_hand():
    a = np.array([True] * 8 + [False] * 2 + [True] * 50)
    b = np.array([False] * 8 + [True] * 2 + [True] * 50)
    found = statistics.mcnemar(a, b)
    assert (found.only_a, found.only_b) == (8, 2)
    assert found.p_value == pytest.approx(2 * sum(math.comb(10, k) for k in range(3)) / 2**10)
    assert statistics.mcnemar(a, a).p_value == 1
    assert statistics.mcnemar(b, a).p_value == found.p_value


def test_mcnemar_seldom_cries_wolf():
    generator = np.random.default_rng(2)
    values = [statistics.mcnemar(*(generator.random((2, 200)) < 0.9)).p_value for _ in range(300)]
    assert np.mean(np.array(values) < 0.05) < 0.08


def test_bootstrap_covers_the_truth_and_uses_the_pairs():
    generator = np.random.default_rng(3)
    held = 0
    for seed in range(60):
        base = generator.normal(0, 10, 80)  # what both sides share
        a, b = base + generator.normal(1, 1, 80), base
        interval = statistics.paired_bootstrap(a, b, rounds=400, seed=seed)
        held += 1 in interval
        assert interval.high - interval.low < 1  # unpaired it would be about 6
    assert held >= 50


def test_two_pairs_are_enough_to_resample():
    interval = statistics.paired_bootstrap([1.0, 2.0], [0.0, 1.0], rounds=100)
    assert (interval.low, interval.value, interval.high, interval.confidence) == (1, 1, 1, 0.95)


def test_bootstrap_repeats_and_takes_other_statistics():
    a, b = np.arange(1, 9.0), np.arange(1, 9.0) * 2

    def ratio(p, q, axis=-1):
        return np.median(p, axis=axis) / np.median(q, axis=axis)

    first = statistics.paired_bootstrap(a, b, ratio, rounds=200)
    assert first == statistics.paired_bootstrap(a, b, ratio, rounds=200)
    assert (first.low, first.value, first.high) == pytest.approx((0.5, 0.5, 0.5))


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda: statistics.mcnemar([True], [True, False]), ValueError, "shapes"),
        (lambda: statistics.mcnemar([], []), ValueError, "n >= 1"),
        (lambda: statistics.mcnemar([1, 0], [1, 1]), TypeError, "bool"),
        (lambda: statistics.paired_bootstrap([1.0], [2.0]), ValueError, "at least 2"),
        (lambda: statistics.paired_bootstrap([1.0, np.nan], [2.0, 1.0]), ValueError, "NaN"),
        (lambda: statistics.paired_bootstrap(["a", "b"], [2.0, 1.0]), TypeError, "numbers"),
        (lambda: statistics.paired_bootstrap([1, 2], [2, 1], rounds=5), ValueError, "at least 100"),
        (lambda: statistics.reliability(OUTPUTS, [0, 1, 2, 1], 0), ValueError, "bins=0"),
    ],
)
def test_pairs_refuse(call, error, sentence):
    with pytest.raises(error, match=sentence):
        call()


def test_as_many_resamplings_as_asked_for_however_large_the_sample():
    drawn = []

    def counted(p, q, axis=-1):
        drawn.append(len(p) if p.ndim == 2 else 0)
        return p.mean(axis=axis) - q.mean(axis=axis)

    statistics.paired_bootstrap(np.zeros(30_000), np.ones(30_000), counted, rounds=150)  # in steps of 66
    assert sum(drawn) == 150


# --- several trainings on the same examples -------------------------------------------------------------


def test_crossed_bootstrap_is_wider_than_either_source_alone():
    rng = np.random.default_rng(0)
    a = rng.random((5, 400)) < np.array([0.7, 0.75, 0.8, 0.85, 0.9])[:, None]
    b = np.repeat(rng.random((1, 400)) < 0.6, 5, axis=0)
    found = statistics.crossed_bootstrap(a, b)
    assert found.value == pytest.approx(a.mean() - b.mean()) and found.low < found.value < found.high
    same_seeds = np.repeat(a.mean(axis=0, keepdims=True), 5, axis=0)  # nothing left between seeds
    same_pictures = np.repeat(a.mean(axis=1, keepdims=True), 400, axis=1)
    for other in (statistics.crossed_bootstrap(same_seeds, b), statistics.crossed_bootstrap(same_pictures, 0.0 * a)):
        assert other.high - other.low < found.high - found.low


def test_crossed_bootstrap_of_equal_sides_and_of_a_share_with_a_single_teacher():
    rng = np.random.default_rng(1)
    a, b, teacher = rng.random((5, 300)) < 0.8, rng.random((5, 300)) < 0.7, rng.random(300) < 0.95
    same = statistics.crossed_bootstrap(a, a)
    assert (same.value, same.low, same.high) == (0, 0, 0)
    closed = statistics.crossed_bootstrap(a, b, teacher, statistic=lambda p, q, t: (p - q) / (t - q))
    want = (a.mean() - b.mean()) / (teacher.mean() - b.mean())
    assert closed.value == pytest.approx(want) and closed.low < want < closed.high
    assert closed == statistics.crossed_bootstrap(a, b, teacher, statistic=lambda p, q, t: (p - q) / (t - q))


@pytest.mark.parametrize("sides", [(), ([True, False],), ([[1, 0]], [[0, 1]]), ([[1, 0], [0, 1]], [[1], [0]])])
def test_crossed_bootstrap_refuses_sides_that_do_not_belong_together(sides):
    with pytest.raises(ValueError, match="pass"):
        statistics.crossed_bootstrap(*sides)


def test_a_statistic_without_a_value_is_said_and_gives_no_interval():
    def ratio(p, q, axis=-1):
        with np.errstate(invalid="ignore", divide="ignore"):
            return p.mean(axis=axis) / q.mean(axis=axis)

    with pytest.raises(
        ValueError, match=r"statistic gives 1.0 for the data and NaN for [1-9]\d* of 200 draws; pass one"
    ):
        statistics.paired_bootstrap([1, 0], [1, 0], ratio, rounds=200)
    with pytest.raises(ValueError, match=r"statistic gives nan for the data and NaN for 100 of 100 draws"):
        statistics.crossed_bootstrap(*[np.zeros((2, 3))] * 2, statistic=lambda p, q: p * np.nan, rounds=100)
