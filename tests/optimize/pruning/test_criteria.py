"""Scores of weights beyond magnitude, and Optimal Brain Surgeon, against plain arithmetic."""

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.optimize.pruning import criteria, magnitude

L = tf_keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 5)).astype("float32")
Y = RNG.integers(0, 3, 24)


@pytest.fixture
def model():
    tf_keras.utils.set_random_seed(4)
    return tf_keras.Sequential([tf_keras.Input((5,)), L.Dense(4, "tanh"), L.Dense(3)])


def loss(model):
    logits = model(X).numpy().astype(float)
    logits -= logits.max(axis=1, keepdims=True)
    return float(np.mean(np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(len(Y)), Y]))


@pytest.mark.parametrize("batch_size", [24, 7])
def test_the_gradient_score_is_the_numerical_derivative_times_the_weight(model, batch_size):
    scores = criteria.gradient_scores(model, X, Y, batch_size=batch_size)
    kernel = model.layers[1].kernel
    values = kernel.numpy()
    for place in [(0, 0), (3, 2), (1, 1)]:
        ends = []
        for step in (-1e-2, 1e-2):
            moved = values.copy()
            moved[place] += step
            kernel.assign(moved)
            ends.append(loss(model))
        kernel.assign(values)
        slope = (ends[1] - ends[0]) / 2e-2
        assert scores[1][place] == pytest.approx(abs(values[place] * slope), rel=0.02, abs=1e-5)


def test_the_fisher_score_squares_the_gradient_of_each_example(model):
    model = tf_keras.Sequential([tf_keras.Input((5,)), L.Dense(3, use_bias=False)])
    logits = X @ model.layers[0].kernel.numpy()
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    each = X[:, :, None] * (p - np.eye(3)[Y])[:, None, :]
    expected = model.layers[0].kernel.numpy() ** 2 * np.mean(each**2, axis=0) / 2
    np.testing.assert_allclose(criteria.fisher_scores(model, X, Y)[0], expected, rtol=1e-3, atol=1e-7)


def test_movement_is_high_where_weights_grow(model):
    before = model.get_weights()
    scores = criteria.movement_scores(model, X, Y, batch_size=24, learning_rate=0.1)
    gradients = criteria.gradient_scores(model, X, Y)
    for score, gradient in zip(scores, gradients, strict=True):  # one step: −w · g, whose size is the gradient's score
        np.testing.assert_allclose(np.abs(score), gradient, rtol=1e-3, atol=1e-7)
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_pruning_by_magnitude_scores_is_magnitude_pruning(model, scope):
    for target in (0, 0.3, 0.9):
        by_score = criteria.prune_by(model, criteria.magnitude_scores(model), target, scope=scope)
        directly = magnitude.prune_once(model, target, scope=scope)
        for one, other in zip(by_score.get_weights(), directly.get_weights(), strict=True):
            np.testing.assert_array_equal(one, other)


def test_equal_scores_are_cut_to_the_exact_number_and_scores_may_be_negative(model):
    equal = [np.full(score.shape, -2.0) for score in criteria.magnitude_scores(model)]
    pruned = criteria.prune_by(model, equal, 0.5)
    assert [np.count_nonzero(w == 0) for w in pruned.get_weights() if w.ndim == 2] == [10, 6]
    assert criteria.random_scores(model, 1)[0][0, 0] != criteria.random_scores(model, 2)[0][0, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(2, 7))
def test_the_surgeon_is_exact_where_the_loss_is_a_parabola(seed, n):
    """After removing p, no other change of the remaining weights gives a smaller loss."""
    rng = np.random.default_rng(seed)
    factor = rng.normal(size=(n + 3, n))
    hessian = factor.T @ factor + 0.1 * np.eye(n)
    w = rng.normal(size=n)
    for count in range(1, n):
        made = criteria.surgeon(w, np.linalg.inv(hessian), count)
        gone = made == 0
        assert gone.sum() == count
        kept = ~gone
        best = np.zeros(n)  # minimize (v − w)ᵀ H (v − w) over the kept ones
        best[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], hessian[kept] @ w)
        np.testing.assert_allclose(made, best, rtol=1e-6, atol=1e-8)


def test_the_first_to_go_costs_least():
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(9, 6))
    hessian, w = factor.T @ factor, rng.normal(size=6)
    inverse = np.linalg.inv(hessian)
    costs = []
    for p in range(6):
        kept = np.arange(6) != p
        v = np.zeros(6)
        v[kept] = np.linalg.solve(hessian[np.ix_(kept, kept)], hessian[kept] @ w)
        costs.append((v - w) @ hessian @ (v - w))
    assert np.flatnonzero(criteria.surgeon(w, inverse, 1) == 0) == [np.argmin(costs)]


def test_with_a_hessian_of_ones_the_surgeon_is_magnitude_pruning():
    w = np.array([3.0, -0.2, 1.0, 0.5])
    np.testing.assert_array_equal(criteria.surgeon(w, np.eye(4), 2), [3, 0, 1, 0])


def test_the_inverse_fisher_is_the_inverse():
    g = np.random.default_rng(1).normal(size=(30, 6))
    expected = np.linalg.inv(0.01 * np.eye(6) + g.T @ g / len(g))
    np.testing.assert_allclose(criteria.inverse_fisher(g, 0.01), expected, rtol=1e-8)


def test_bad_input_is_refused(model):
    scores = criteria.magnitude_scores(model)
    with pytest.raises(ValueError, match="share of zeros"):
        criteria.prune_by(model, scores, 1.0)
    with pytest.raises(ValueError, match="have the shapes"):
        criteria.prune_by(model, scores[:1], 0.5)
    with pytest.raises(ValueError, match="NaN"):
        criteria.prune_by(model, [score * np.nan for score in scores], 0.5)
    with pytest.raises(ValueError, match="scope"):
        criteria.prune_by(model, scores, 0.5, scope="channel")
    with pytest.raises(ValueError, match="no prunable weights"):
        criteria.magnitude_scores(tf_keras.Sequential([tf_keras.Input((4,)), L.ReLU()]))
    with pytest.raises(ValueError, match="labels"):
        criteria.gradient_scores(model, X, Y[:3])
    for arguments in [(np.ones((2, 2)), np.eye(2), 1), (np.ones(2), np.eye(3), 1), (np.ones(2), np.eye(2), 3)]:
        with pytest.raises(ValueError):
            criteria.surgeon(*arguments)
    with pytest.raises(ValueError, match="damping"):
        criteria.surgeon(np.ones(2), -np.eye(2), 1)
    with pytest.raises(ValueError, match="damping"):
        criteria.inverse_fisher(np.ones((3, 2)), 0)
    with pytest.raises(ValueError, match="examples, n"):
        criteria.inverse_fisher(np.ones(3))
