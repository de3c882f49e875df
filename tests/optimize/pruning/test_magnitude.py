"""One-shot magnitude pruning."""

import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras

from utils.optimize.pruning import gradual, structured
from utils.optimize.pruning import magnitude as pruning


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


@pytest.mark.parametrize("target", [0.1, 1 / 3, 0.5, 0.77])
def test_the_share_is_exact_to_one_weight_of_each_array_and_of_the_model(network, target):
    sizes = {i: w.size for i, w in enumerate(network.get_weights()) if i in pruning.prunable(network)}
    by_layer = pruning.prune_once(network, target).get_weights()
    assert {i: np.count_nonzero(by_layer[i] == 0) for i in sizes} == {i: round(target * n) for i, n in sizes.items()}
    by_model = pruning.prune_once(network, target, scope="model").get_weights()
    assert sum(np.count_nonzero(by_model[i] == 0) for i in sizes) == round(target * sum(sizes.values()))


L = tf_keras.layers
ARRAYS = {
    "Conv2DTranspose": (lambda: L.Conv2DTranspose(3, 2), (5, 5, 2), ["kernel"]),
    "DepthwiseConv2D": (lambda: L.DepthwiseConv2D(2), (5, 5, 2), []),
    "SeparableConv2D": (lambda: L.SeparableConv2D(3, 2), (5, 5, 2), ["pointwise_kernel"]),
    "GRU": (lambda: L.GRU(3), (4, 2), ["kernel", "recurrent_kernel"]),
    "Bidirectional": (lambda: L.Bidirectional(L.LSTM(3)), (4, 2), ["kernel", "recurrent_kernel"] * 2),
    "Embedding": (lambda: L.Embedding(7, 3), (4,), ["embeddings"]),
    "TimeDistributed": (lambda: L.TimeDistributed(L.Dense(3)), (4, 2), ["kernel"]),
    "PReLU": (lambda: L.PReLU(), (4, 2), []),
    "LayerNormalization": (lambda: L.LayerNormalization(), (4, 2), []),
    "EinsumDense": (lambda: L.EinsumDense("abc,cd->abd", (4, 3), bias_axes="bd"), (4, 2), ["kernel"]),
}


@pytest.mark.parametrize("kind", ARRAYS)
def test_each_array_of_a_layer_counts_by_itself_and_biases_and_slopes_stay(kind):
    make, shape, wanted = ARRAYS[kind]
    layer = make()
    model = tf_keras.Sequential([L.Input(shape), layer, L.Flatten(), L.Dense(2)])
    model.set_weights([np.random.default_rng(1).normal(size=w.shape) for w in model.weights])
    found = [model.weights[i].name for i in pruning.prunable(model)]
    assert [name.split("/")[-1].split(":")[0] for name in found] == [*wanted, "kernel"]
    pruned = pruning.prune_once(model, 0.4)
    for weight, value in zip(pruned.weights, pruned.get_weights(), strict=True):
        expected = round(0.4 * value.size) if weight.name in found else 0
        assert np.count_nonzero(value == 0) == expected, weight.name


def test_shared_layers_are_pruned_once():
    start, shared = tf_keras.Input((5,)), L.Dense(5, name="shared")
    pruned = pruning.prune_once(tf_keras.Model(start, shared(shared(start))), 0.4)
    assert np.count_nonzero(pruned.get_layer("shared").kernel.numpy() == 0) == 10
    assert pruning.sparsity(pruned) == 0.4


def test_equal_magnitudes_are_cut_to_the_exact_number():
    pruned = pruning.zero_smallest(np.array([[1.0, -1.0], [1.0, -1.0]]), 0.5)
    np.testing.assert_array_equal(pruned, [[0, 0], [1, -1]])


def test_of_many_equal_magnitudes_the_first_go():
    values = np.resize([1.0, -3.0, 2.0], 100)  # no sort of fewer than 17 numbers changes the order of equal ones
    gone = sorted(range(100), key=lambda place: abs(values[place]))[:50]
    assert np.flatnonzero(pruning.zero_smallest(values, 0.5) == 0).tolist() == sorted(gone)


def test_the_share_of_zeros_of_a_model_without_kernels_is_none():
    model = tf_keras.Sequential([tf_keras.Input((4,)), L.PReLU()])
    model.set_weights([np.zeros(4)])
    assert np.isnan(pruning.sparsity(model)) and pruning.prunable(model) == []
    with pytest.raises(ValueError, match="list of layer names"):
        pruning.prunable(model, "p_re_lu")


def test_what_the_toolkit_has_wrapped_is_refused_by_name(network):
    pruning.check_plain(network)
    plain = tf_keras.Sequential([tf_keras.Input((6,)), tf_keras.layers.Dense(3), tf_keras.layers.Dense(2)])
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(plain)
    pair = np.zeros((4, 6), np.float32), np.zeros(4, int)
    for refuses in (
        pruning.check_plain,
        lambda model: structured.remove_channels(model, 0.5),
        structured.groups,
        lambda model: gradual.prune_while_training(model, pair, 0.5),
    ):
        with pytest.raises(ValueError, match=r"is a PruneLowMagnitude of the Toolkit.*strip_pruning"):
            refuses(wrapped)


def test_what_the_toolkit_has_wrapped_inside_a_model_inside_is_refused_too():
    inner = tf_keras.Sequential([tf_keras.Input((6,)), L.Dense(3, name="deep")])
    wrapped = tfmot.sparsity.keras.prune_low_magnitude(inner)
    with pytest.raises(ValueError, match=r"the layer '\w*deep' .* is a PruneLowMagnitude of the Toolkit"):
        pruning.check_plain(tf_keras.Sequential([tf_keras.Input((6,)), wrapped, L.Dense(2)]))


def test_zeros_that_were_there_count_and_the_argument_stays():
    values = np.array([[0.0, 0.0], [0.0, 3.0]])
    np.testing.assert_array_equal(pruning.zero_smallest(values, 0.5), values)
    given = np.array([1.0, 2.0])
    np.testing.assert_array_equal(pruning.zero_smallest(given, 0.5), [0, 2])
    np.testing.assert_array_equal(given, [1, 2])


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
    with pytest.raises(ValueError, match="no graph of layers"):
        pruning.prune_once(tf_keras.Sequential([tf_keras.layers.Dense(2)]), 0.5)
    with pytest.raises(ValueError, match="no prunable weights"):
        pruning.prune_once(tf_keras.Sequential([tf_keras.layers.ReLU(input_shape=(4,))]), 0.5)

    class Subclassed(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.inner = L.Dense(2)

        def call(self, x):
            return self.inner(x)

    subclassed = Subclassed()
    subclassed(np.zeros((1, 3), np.float32))
    with pytest.raises(ValueError, match="functional interface"):
        pruning.prune_once(subclassed, 0.5)
    assert pruning.sparsity(subclassed) == 0  # it can be looked at
    network.set_weights([w * np.nan for w in network.get_weights()])
    with pytest.raises(ValueError, match="NaN or infinite"):
        pruning.prune_once(network, 0.5)
