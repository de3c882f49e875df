"""One-shot magnitude pruning."""

import numpy as np
import pytest
import tf_keras

from utils.optimize import pruning


@pytest.fixture
def network():
    tf_keras.utils.set_random_seed(3)
    inner = tf_keras.Sequential([tf_keras.layers.Dense(8, input_shape=(6,))], name="inner")
    picture = tf_keras.Input((9, 9, 2))
    x = tf_keras.layers.Conv2D(4, 3)(picture)
    x = tf_keras.layers.BatchNormalization()(x)
    x = tf_keras.layers.DepthwiseConv2D(3)(x)
    x = tf_keras.layers.SeparableConv2D(6, 3)(x)
    x = tf_keras.layers.GlobalAveragePooling2D()(x)
    return tf_keras.Model(picture, tf_keras.layers.Dense(3)(inner(x)))


@pytest.mark.parametrize("scope", ["layer", "model"])
@pytest.mark.parametrize("target", [0, 0.25, 0.5, 0.9])
def test_the_share_of_zeros_is_as_asked_and_the_original_stays(network, target, scope):
    before = [w.copy() for w in network.get_weights()]
    pruned = pruning.prune_once(network, target, scope=scope)
    assert pruning.sparsity(pruned) == pytest.approx(target, abs=0.03)
    for old, new in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_only_kernels_lose_weights_and_survivors_keep_their_values(network):
    pruned = pruning.prune_once(network, 0.5)
    touched = pruning.prunable(network)
    assert len(touched) == 4  # convolution, pointwise, and both dense kernels, the nested one too
    for i, (old, new) in enumerate(zip(network.get_weights(), pruned.get_weights(), strict=True)):
        if i not in touched:
            np.testing.assert_array_equal(old, new)
            continue
        kept = new != 0
        np.testing.assert_array_equal(new[kept], old[kept])
        assert np.abs(old[~kept]).max() <= np.abs(old[kept]).min()


def test_scopes_differ_when_one_layer_has_small_weights(network):
    small = pruning.prunable(network)[0]
    values = network.get_weights()
    values[small] = values[small] * 0.001
    network.set_weights(values)
    by_model = pruning.prune_once(network, 0.5, scope="model").get_weights()
    by_layer = pruning.prune_once(network, 0.5, scope="layer").get_weights()
    assert np.mean(by_model[small] == 0) == 1
    assert np.mean(by_layer[small] == 0) == pytest.approx(0.5, abs=0.01)


@pytest.mark.parametrize("scope", ["layer", "model"])
def test_only_the_named_layers_are_pruned(network, scope):
    first, *others = pruning.prunable(network)
    name = network.layers[1].name
    pruned = pruning.prune_once(network, 0.5, only=[name], scope=scope).get_weights()
    assert pruning.prunable(network, [name]) == [first]
    assert np.mean(pruned[first] == 0) == 0.5
    assert not any((pruned[i] == 0).any() for i in others)
    assert len(pruning.prunable(network, ["inner"])) == 1  # a model inside the model is a layer too


def test_layers_that_cannot_be_pruned_are_named(network):
    with pytest.raises(ValueError, match="No such layer: nowhere"):
        pruning.prune_once(network, 0.5, only=["nowhere"])
    with pytest.raises(ValueError, match="list of layer names"):
        pruning.prune_once(network, 0.5, only="dense")
    normalization = network.layers[2].name
    with pytest.raises(ValueError, match=f"{normalization}.*no prunable weights"):
        pruning.prune_once(network, 0.5, only=[normalization])


def test_equal_magnitudes_are_cut_to_the_exact_number():
    pruned = pruning.zero_smallest(np.array([[1.0, -1.0], [1.0, -1.0]]), 0.5)
    np.testing.assert_array_equal(pruned, [[0, 0], [1, -1]])


def test_the_smallest_magnitudes_go_not_the_smallest_values():
    np.testing.assert_array_equal(pruning.zero_smallest(np.array([-9.0, 0.1, 5.0, -0.2]), 0.5), [-9, 0, 5, 0])


@pytest.mark.parametrize("target", [1, -0.1, 80, float("nan"), "80 %", True])
def test_a_target_out_of_range_is_refused(network, target):
    with pytest.raises(ValueError, match="share of zeros"):
        pruning.prune_once(network, target)


def test_what_cannot_be_pruned_is_said(network):
    with pytest.raises(ValueError, match="'layer' or 'model'"):
        pruning.prune_once(network, 0.5, scope="channel")
    with pytest.raises(TypeError, match="tf_keras model"):
        pruning.prune_once("lenet5", 0.5)
    with pytest.raises(ValueError, match="no weights yet"):
        pruning.prune_once(tf_keras.Sequential([tf_keras.layers.Dense(2)]), 0.5)
    with pytest.raises(ValueError, match="no prunable weights"):
        pruning.prune_once(tf_keras.Sequential([tf_keras.layers.ReLU(input_shape=(4,))]), 0.5)
    network.set_weights([w * np.nan for w in network.get_weights()])
    with pytest.raises(ValueError, match="NaN or infinite"):
        pruning.prune_once(network, 0.5)
