"""Masks have the zeros they promise, are the Toolkit's, and reach every kernel with input channels."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras
from hypothesis import given
from hypothesis import strategies as st
from tensorflow_model_optimization.python.core.sparsity.keras import pruning_utils
from tf_keras import layers

from utils.optimize import keras_weights
from utils.optimize.sparsity import patterns


def values(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).permutation(int(np.prod(shape))).reshape(shape).astype(np.float32) + 1


@given(st.integers(0, 2**32), st.integers(1, 40), st.floats(0, 0.99))
def test_single_zeros_are_exactly_as_many_and_the_smallest(seed, size, share):
    array = values(size, seed=seed)
    keep = patterns.single(array, share)
    assert (~keep).sum() == round(share * size)
    assert not keep.any() or keep.all() or array[keep].min() > array[~keep].max()


@given(st.integers(1, 13), st.integers(1, 13), st.integers(1, 4), st.integers(1, 4))
def test_blocks_go_as_a_whole(rows, columns, high, wide):
    keep = patterns.blocks(values(rows, columns), 0.5, (high, wide))
    parts = [keep[i : i + high, j : j + wide] for i in range(0, rows, high) for j in range(0, columns, wide)]
    assert all(part.all() or not part.any() for part in parts)
    assert sum(not part.any() for part in parts) == round(0.5 * len(parts))


def test_the_block_with_the_smallest_mean_goes():
    matrix = np.array([[1, 9], [1, 9], [5, 2], [5, 2]], np.float32)
    assert patterns.blocks(matrix, 0.25, (2, 1)).tolist() == [[False, True]] * 2 + [[True, True]] * 2


@pytest.mark.parametrize("shape", [(8, 3), (6, 2), (3, 5), (3, 3, 8, 2), (1, 1, 3, 4)])
@pytest.mark.parametrize("zeros, size", [(2, 4), (3, 4), (1, 2)])
def test_groups_are_those_of_the_toolkit(shape, zeros, size):
    kernel = values(*shape)
    rows = pruning_utils.weights_rearrange(tf.constant(kernel))
    theirs = pruning_utils.m_by_n_sparsity_mask_prepare(
        pruning_utils.generate_m_by_n_mask(rows, (zeros, size)), tf.TensorShape(shape)
    )
    ours = patterns.groups(kernel, zeros, size)
    assert np.array_equal(ours, theirs.numpy() != 0)
    assert patterns.holds(np.where(ours, kernel, 0), zeros, size)


def test_three_channels_lose_one():
    keep = patterns.groups(values(3, 3, 3, 8))
    assert (~keep).mean() == pytest.approx(1 / 3)


def test_holds_sees_one_weight_too_many_and_the_wrong_axis():
    kernel = np.where(patterns.groups(values(8, 8)), 1.0, 0.0)
    assert patterns.holds(kernel) and patterns.holds(kernel.T, axis=-1)
    kernel[0] = 1
    assert not patterns.holds(kernel)


def models() -> dict[str, tf_keras.Model]:
    image = tf_keras.Input((8, 8, 4))
    branch = layers.Conv2D(8, 3, padding="same")(image)
    other = layers.Conv2DTranspose(8, 3, padding="same")(image)
    joined = layers.Add()([branch, layers.DepthwiseConv2D(3, padding="same")(other)])
    branched = tf_keras.Model(image, layers.Dense(2)(layers.Flatten()(joined)))
    return {
        "sequential": tf_keras.Sequential([tf_keras.Input((8,)), layers.Dense(8), layers.Dense(4)]),
        "branched": branched,
        "1-D": tf_keras.Sequential([tf_keras.Input((8, 4)), layers.Conv1D(8, 3), layers.LSTM(4)]),
        "nested": tf_keras.Sequential(
            [tf_keras.Input((8,)), tf_keras.Sequential([tf_keras.Input((8,)), layers.Dense(4)])]
        ),
    }


@pytest.mark.parametrize("name", list(models()))
def test_each_kernel_with_input_channels_gets_the_pattern(name):
    model = models()[name]
    before = [array.copy() for array in model.get_weights()]
    pruned = patterns.prune(model, patterns.two_of_four)
    touched = 0
    for weight in keras_weights.weights(pruned):
        axis = patterns.input_axis(weight)
        if axis is not None:
            touched += 1
            assert patterns.holds(weight.variable.numpy(), axis=axis)
    assert touched >= 1
    assert all(np.array_equal(a, b) for a, b in zip(before, model.get_weights(), strict=True))


def test_only_the_layers_named():
    model = tf_keras.Sequential([tf_keras.Input((8,)), layers.Dense(8, name="a"), layers.Dense(4, name="b")])
    pruned = patterns.prune(model, lambda array, axis: patterns.single(array, 0.5), only=["b"])
    assert np.count_nonzero(pruned.get_layer("a").kernel.numpy() == 0) == 0
    assert np.count_nonzero(pruned.get_layer("b").kernel.numpy() == 0) == 16


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: patterns.single(values(4), 1), "share is 1"),
        (lambda: patterns.single(values(4), -0.1), "share is"),
        (lambda: patterns.single(np.array([1, np.nan]), 0.5), "finite"),
        (lambda: patterns.blocks(values(2, 2, 2), 0.5), "matrix"),
        (lambda: patterns.blocks(values(4, 4), 0.5, (0, 1)), "side of a block"),
        (lambda: patterns.groups(values(4, 4), 4, 4), "leave no weight"),
        (lambda: patterns.groups(values(4, 4), 2.0, 4), "whole number"),
        (lambda: patterns.prune(models()["sequential"], lambda array, axis: array), "boolean mask"),
        (lambda: patterns.prune(models()["sequential"], lambda array, axis: array > 0, only="a"), "list of layer"),
        (
            lambda: patterns.prune(
                tf_keras.Sequential([tf_keras.Input((4,)), layers.ReLU()]), lambda array, axis: array > 0
            ),
            "no kernel",
        ),
    ],
)
def test_bad_input_gets_a_sentence(call, sentence):
    with pytest.raises(ValueError, match=sentence):
        call()


def test_what_is_no_model_is_refused():
    with pytest.raises(TypeError, match="tf_keras"):
        patterns.prune("model", lambda array, axis: array > 0)
