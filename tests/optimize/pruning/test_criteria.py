"""Scores of weights beyond magnitude, and Optimal Brain Surgeon, against plain arithmetic."""

import numpy as np
import pytest
import tensorflow as tf
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


@pytest.mark.parametrize("between", [lambda: L.Dropout(0.5), L.BatchNormalization])
def test_scores_are_of_the_layers_as_in_inference(between):
    tf_keras.utils.set_random_seed(4)
    model = tf_keras.Sequential([tf_keras.Input((5,)), L.Dense(4, "tanh"), between(), L.Dense(3)])
    kernels = [model.layers[0].kernel, model.layers[2].kernel]
    with tf.GradientTape() as tape:
        value = tf_keras.losses.SparseCategoricalCrossentropy(from_logits=True)(Y, model(X, training=False))
    for score, kernel, gradient in zip(
        criteria.gradient_scores(model, X, Y), kernels, tape.gradient(value, kernels), strict=True
    ):
        np.testing.assert_allclose(score, np.abs(kernel * gradient), rtol=1e-3, atol=1e-7)


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


def test_movement_over_two_batches_is_that_of_two_steps(model):
    whole = criteria.movement_scores(model, X, Y, batch_size=12, learning_rate=0.1)
    first = criteria.movement_scores(model, X[:12], Y[:12], batch_size=12, learning_rate=0.1)
    kernels = [layer.kernel for layer in model.layers]
    for kernel, score in zip(kernels, first, strict=True):  # a step of plain gradient descent: −w · g is the score
        kernel.assign(kernel.numpy() + 0.1 * score / kernel.numpy())
    second = criteria.movement_scores(model, X[12:], Y[12:], batch_size=12, learning_rate=0.1)
    for both, one, other in zip(whole, first, second, strict=True):
        np.testing.assert_allclose(both, one + other, rtol=1e-3, atol=1e-5)
        assert not np.allclose(both, 2 * one, rtol=1e-2)


def test_the_fisher_score_of_a_batch_squares_its_mean_gradient(model):
    (kernel, *_) = criteria.fisher_scores(model, X, Y, batch_size=24)
    np.testing.assert_allclose(kernel, np.square(criteria.gradient_scores(model, X, Y)[0]) / 2, rtol=1e-3, atol=1e-8)


def test_probabilities_have_the_scores_of_their_logits(model):
    said = tf_keras.Sequential([tf_keras.Input((5,)), *model.layers, L.Softmax()])
    for one, other in zip(criteria.gradient_scores(said, X, Y), criteria.gradient_scores(model, X, Y), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-6)


def test_random_scores_are_drawn_again_for_another_seed_alone(model):
    drawn = [criteria.random_scores(model, seed) for seed in (1, 1, 2)]
    for shape, one, same, other in zip([(5, 4), (4, 3)], *drawn, strict=True):
        assert one.shape == shape and (one >= 0).all() and (one < 1).all()
        assert np.array_equal(one, same) and not np.array_equal(one, other)


@pytest.mark.parametrize("scope, zeros", [("layer", [10, 6]), ("model", [16, 0])])
def test_the_lowest_scores_go_of_each_array_or_of_all(model, scope, zeros):
    scores = [np.arange(20.0).reshape(5, 4) - 50, np.arange(12.0).reshape(4, 3)]
    before = [layer.kernel.numpy() for layer in model.layers]
    pruned = criteria.prune_by(model, scores, 0.5, scope=scope)
    for score, old, layer, count in zip(scores, before, pruned.layers, zeros, strict=True):
        lowest = np.argsort(score, axis=None)[:count]
        expected = old.ravel().copy()
        expected[lowest] = 0
        np.testing.assert_array_equal(layer.kernel.numpy().ravel(), expected)


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_one_score_that_is_not_finite_is_refused(model, scope):
    scores = criteria.magnitude_scores(model)
    scores[1][0, 0] = np.inf
    with pytest.raises(ValueError, match="NaN or infinity"):
        criteria.prune_by(model, scores, 0.5, scope=scope)


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


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_of_many_equal_scores_the_first_go(scope):
    model = tf_keras.Sequential([tf_keras.Input((10,)), L.Dense(10)])
    scores = np.resize([1.0, 3.0, 2.0], 100)
    pruned = criteria.prune_by(model, [scores.reshape(10, 10)], 0.5, scope=scope).layers[0].kernel.numpy()
    gone = sorted(range(100), key=lambda place: scores[place])[:50]
    assert np.flatnonzero(pruned == 0).tolist() == sorted(gone)


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


@pytest.mark.parametrize("count", [2.5, "2", True, -1, 4])
def test_what_is_no_count_of_weights(count):
    with pytest.raises(ValueError, match="count is"):
        criteria.surgeon(np.ones(3), np.eye(3), count)


@pytest.mark.parametrize(
    "inverse",
    [
        [[1, 2, 0], [2, 1, 0], [0, 0, 1]],
        [[1, 0.5, 0], [0, 1, 0], [0, 0, 1]],
        [[1, 0.5, 0], [0.5 * 1.0013, 1, 0], [0, 0, 1]],  # a thousandth is let pass
        np.ones((3, 3)),
    ],
    ids=["saddle", "not symmetric", "hardly symmetric", "singular"],
)
def test_the_surgeon_refuses_what_is_no_inverse_of_a_hessian(inverse):
    with pytest.raises(ValueError, match=r"add .*damping to H"):
        criteria.surgeon([1, 5, 3], inverse, 2)


@pytest.mark.parametrize(
    "weights, inverse",
    [
        ([1, np.nan, 3], np.eye(3)),
        ([1, np.inf, 3], np.eye(3)),
        ([1, 2, 3], np.diag([1, np.nan, 1])),
        ([1, 2, 3], np.diag([1, 0, 1])),
        ([1, 2, 3], np.diag([1, -1, 1])),
    ],
)
def test_one_number_that_is_not_finite_or_no_curvature_is_enough_to_refuse(weights, inverse):
    with pytest.raises(ValueError, match="must be finite, and the inverse's diagonal above 0"):
        criteria.surgeon(weights, inverse, 1)


@pytest.mark.parametrize("count", [0, 3, np.int64(2)])
def test_the_surgeon_takes_none_or_all(count):
    w = np.array([1, -2, 3])
    assert np.count_nonzero(criteria.surgeon(w, np.eye(3), count) == 0) == count
    assert w.tolist() == [1, -2, 3]


def test_the_surgeon_refuses_what_are_no_numbers():
    for weights, inverse in [(["a", "b"], np.eye(2)), (np.ones(2), [["a", "b"], ["c", "d"]])]:
        with pytest.raises(ValueError, match="pass numbers"):
            criteria.surgeon(weights, inverse, 1)


@pytest.mark.parametrize("gradients", [[[1.0, np.nan]], np.ones((0, 3)), np.ones(3), [["a"]]])
def test_gradients_are_finite_numbers_of_examples(gradients):
    with pytest.raises(ValueError, match="pass finite numbers of shape"):
        criteria.inverse_fisher(gradients)


@pytest.mark.parametrize("damping", [True, -1, 0, np.nan])
def test_a_damping_is_a_number_above_0(damping):
    with pytest.raises(ValueError, match="damping is"):
        criteria.inverse_fisher(np.ones((2, 3)), damping)


@pytest.mark.parametrize(
    "gradients, damping",
    [(np.ones((2, 3)), np.inf), (np.ones((2, 3)), "0.1"), ([["a"]], 0.1), (np.full((2, 3), 1e200), 0.1)],
)
def test_the_inverse_fisher_is_finite_or_refused(gradients, damping):
    with pytest.raises(ValueError, match=r"gradients|damping"):
        criteria.inverse_fisher(gradients, damping)


def test_the_inverse_fisher_is_the_inverse():
    g = np.random.default_rng(1).normal(size=(30, 6))
    expected = np.linalg.inv(0.01 * np.eye(6) + g.T @ g / len(g))
    np.testing.assert_allclose(criteria.inverse_fisher(g, 0.01), expected, rtol=1e-8)


@pytest.mark.parametrize("scale, damping", [(3e3, 1e-9), (1.0, 1e-15), (1e8, 1e-3)])
def test_an_inverse_fisher_that_64_bits_cannot_hold_is_refused(scale, damping):
    g = np.random.default_rng(1).normal(size=(5, 8)) * scale
    with pytest.raises(ValueError, match="pass more damping"):
        criteria.inverse_fisher(g, damping)


@settings(max_examples=40, deadline=None)
@given(st.floats(-6, 4), st.floats(-12, 4), st.integers(1, 6), st.integers(0, 9))
def test_an_inverse_fisher_that_is_given_is_one(scale, damping, n, seed):
    g, damping = np.random.default_rng(seed).normal(size=(7, n)) * 10**scale, 10**damping
    try:
        inverse = criteria.inverse_fisher(g, damping)
    except ValueError as error:
        assert "pass more damping" in str(error)
    else:
        product = (damping * np.eye(n) + g.T @ g / 7) @ inverse
        np.testing.assert_allclose(product, np.eye(n), atol=1e-2)


def test_what_does_not_reach_the_outputs_scores_nothing():
    start = tf_keras.Input((5,))
    model = tf_keras.Model(start, L.Dense(3)(tf.stop_gradient(L.Dense(4)(start))))
    for scores in (criteria.gradient_scores(model, X, Y), criteria.fisher_scores(model, X, Y)):
        assert not scores[0].any() and scores[1].any()


def test_scores_are_a_list_of_real_numbers_and_there_is_something_to_prune(model):
    scores = criteria.magnitude_scores(model)
    for kind in (complex, object, str):
        with pytest.raises(ValueError, match=r"the scores are .*; pass real numbers"):
            criteria.prune_by(model, [score.astype(kind) for score in scores], 0.5)
    for other in (None, 5, (score for score in scores), scores[0]):
        with pytest.raises(ValueError, match="pass a list of one array"):
            criteria.prune_by(model, other, 0.5)
    for scope in ("layer", "model"):
        with pytest.raises(ValueError, match="no prunable weights"):
            criteria.prune_by(tf_keras.Sequential([tf_keras.Input((4,)), L.ReLU()]), [], 0.5, scope=scope)
    for rate in ("0.1", float("nan"), -1.0):
        with pytest.raises(ValueError, match="learning_rate is"):
            criteria.movement_scores(model, X, Y, learning_rate=rate)


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
