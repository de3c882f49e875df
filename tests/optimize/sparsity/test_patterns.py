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
    ours = patterns.mask_of_groups(kernel, zeros, size)
    assert np.array_equal(ours, theirs.numpy() != 0)
    assert patterns.holds(np.where(ours, kernel, 0), zeros, size)


def test_three_channels_lose_one():
    keep = patterns.mask_of_groups(values(3, 3, 3, 8))
    assert (~keep).mean() == pytest.approx(1 / 3)


@pytest.mark.parametrize("kind", [np.int8, np.int16, np.int64, np.uint8, np.uint64])
def test_the_least_integer_is_the_largest_magnitude(kind):
    """|-128| is -128 in 8 bits."""
    column = np.array([[np.iinfo(kind).min or np.iinfo(kind).max], [1], [2], [3]], kind)
    assert patterns.mask_of_groups(column).ravel().tolist() == [True, False, False, True]
    assert patterns.single(column, 0.5).ravel().tolist() == [True, False, False, True]
    assert patterns.blocks(column, 0.5, (2, 1)).ravel().tolist() == [True, True, False, False]


def test_holds_sees_one_weight_too_many_and_the_wrong_axis():
    kernel = np.where(patterns.mask_of_groups(values(8, 8)), 1.0, 0.0)
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


AXES = {
    "Dense": (lambda: layers.Dense(3), (4,), {"kernel": -2}),
    "Conv1D": (lambda: layers.Conv1D(3, 2), (5, 4), {"kernel": -2}),
    "Conv2D": (lambda: layers.Conv2D(3, 2), (5, 5, 4), {"kernel": -2}),
    "Conv3D": (lambda: layers.Conv3D(3, 2), (5, 5, 5, 4), {"kernel": -2}),
    "SeparableConv2D": (lambda: layers.SeparableConv2D(3, 2), (5, 5, 4), {"pointwise_kernel": -2}),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(2), (5, 5, 4), {}),
    "Conv1DTranspose": (lambda: layers.Conv1DTranspose(3, 2), (5, 4), {"kernel": -1}),
    "Conv2DTranspose": (lambda: layers.Conv2DTranspose(3, 2), (5, 5, 4), {"kernel": -1}),
    "LSTM": (lambda: layers.LSTM(3), (5, 4), {"kernel": -2, "recurrent_kernel": -2}),
    "Embedding": (lambda: layers.Embedding(7, 4), (5,), {}),
    "EinsumDense": (lambda: layers.EinsumDense("ab,bc->ac", 3), (4,), {}),
    "LocallyConnected1D": (lambda: layers.LocallyConnected1D(3, 2), (5, 4), {}),
    "LocallyConnected2D": (lambda: layers.LocallyConnected2D(3, 2), (5, 5, 4), {}),
    "BatchNormalization": (lambda: layers.BatchNormalization(), (5, 4), {}),
    "PReLU": (lambda: layers.PReLU(), (5, 4), {}),
}


@pytest.mark.parametrize("kind", AXES)
def test_the_input_channels_of_a_kernel_lie_where_its_layer_sums(kind):
    make, shape, wanted = AXES[kind]
    model = tf_keras.Sequential([tf_keras.Input(shape), make()])
    axes = {w.variable.name.split("/")[-1].split(":")[0]: patterns.input_axis(w) for w in keras_weights.weights(model)}
    assert {name: axis for name, axis in axes.items() if axis is not None} == wanted


def test_single_zeros_are_the_smallest_magnitudes_and_the_first_of_equal_ones():
    assert patterns.single(np.array([[-9.0, 1.0], [5.0, -1.0]]), 0.25).tolist() == [[True, False], [True, True]]
    assert patterns.single(np.array([-9, -1]), 0.5).tolist() == [True, False]
    assert patterns.single(values(4), 0).all()


def test_groups_along_another_axis_are_those_of_the_turned_array():
    kernel = values(3, 8, 2)
    for axis in (-3, -1, 0, 1, 2):
        turned = patterns.mask_of_groups(np.moveaxis(kernel, axis, -2), 1, 3)
        assert np.array_equal(patterns.mask_of_groups(kernel, 1, 3, axis), np.moveaxis(turned, -2, axis))
        assert patterns.holds(np.where(turned, np.moveaxis(kernel, axis, -2), 0), 1, 3)


def test_of_equal_blocks_the_first_goes_and_the_mean_counts_what_is_there():
    assert patterns.blocks(np.ones((4, 1)), 0.5, (2, 1)).ravel().tolist() == [False, False, True, True]
    assert patterns.blocks(np.array([[2.0], [2.0], [3.0]]), 0.5, (2, 1)).ravel().tolist() == [False, False, True]


def test_only_the_layers_named():
    model = tf_keras.Sequential([tf_keras.Input((8,)), layers.Dense(8, name="a"), layers.Dense(4, name="b")])
    pruned = patterns.prune(model, lambda array, axis: patterns.single(array, 0.5), only=["b"])
    assert np.count_nonzero(pruned.get_layer("a").kernel.numpy() == 0) == 0
    assert np.count_nonzero(pruned.get_layer("b").kernel.numpy() == 0) == 16


def test_each_of_the_layers_named():
    model = tf_keras.Sequential([tf_keras.Input((8,)), *(layers.Dense(8, name=name) for name in "abc")])
    pruned = patterns.prune(model, lambda array, axis: patterns.single(array, 0.5), only=["a", "c"])
    assert [np.count_nonzero(pruned.get_layer(name).kernel.numpy() == 0) for name in "abc"] == [32, 0, 32]


@pytest.mark.parametrize(
    "call, sentence",
    [
        (lambda: patterns.single(values(4), 1), "share is 1"),
        (lambda: patterns.single(values(4), -0.1), "share is"),
        (lambda: patterns.single(np.array([1, np.nan]), 0.5), "finite"),
        (lambda: patterns.single(values(4), True), "share is True"),
        (lambda: patterns.single(values(4), "half"), "share is 'half'"),
        (lambda: patterns.single(np.ones(4, bool), 0.5), "values are bool"),
        (lambda: patterns.single(np.ones(0), 0.5), "at least one"),
        (lambda: patterns.blocks(values(4, 4), 0.5, (1, 0)), "side of a block is 0"),
        (lambda: patterns.blocks(values(4, 4), 0.5, 4), r"size is 4; pass rows and columns"),
        (lambda: patterns.blocks(values(4, 4), 0.5, (4, 1, 1)), r"size is \(4, 1, 1\); pass rows and columns"),
        (lambda: patterns.mask_of_groups(values(4, 4), 0, 4), "number of zeros is 0"),
        (lambda: patterns.mask_of_groups(values(4, 4), 1, 1), "size of a group is 1"),
        (lambda: patterns.mask_of_groups(values(4, 4), True, 4), "number of zeros is True"),
        (lambda: patterns.holds(values(4, 4), 4, 4), "leave no weight"),
        (lambda: patterns.mask_of_groups(values(4, 4), axis=2), "axis is 2"),
        (lambda: patterns.mask_of_groups(values(4, 4), axis=-3), "axis is -3"),
        (lambda: patterns.mask_of_groups(values(4, 4), axis=True), "axis is True"),
        (lambda: patterns.prune(models()["sequential"], lambda array, axis: np.ones(3, bool)), "boolean mask"),
        (lambda: patterns.prune(models()["nested"], lambda array, axis: array > 0, only=[]), "no kernel"),
        (lambda: patterns.blocks(values(2, 2, 2), 0.5), "matrix"),
        (lambda: patterns.blocks(values(4, 4), 0.5, (0, 1)), "side of a block"),
        (lambda: patterns.mask_of_groups(values(4, 4), 4, 4), "leave no weight"),
        (lambda: patterns.mask_of_groups(values(4, 4), 2.0, 4), "whole number"),
        (lambda: patterns.mask_of_groups(values(4)), "axis is -2 of an array of shape"),
        (lambda: patterns.holds(values(4)), "axis is -2 of an array of shape"),
        (lambda: patterns.mask_of_groups(values(4, 4), axis=0.5), "axis is 0.5"),
        (lambda: patterns.holds(values(4, 4), axis=5), "axis is 5"),
        (lambda: patterns.holds(np.full((4, 4), np.nan)), "finite"),
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
