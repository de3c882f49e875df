"""Units that do nothing are found and left out, and the network computes the same."""

from __future__ import annotations

import numpy as np
import pytest

from tests.optimize.coding import zoo
from utils.optimize import coding
from utils.optimize.coding import dead_units


def _network(flatten: bool = True):
    import tf_keras as k

    L = k.layers
    first = [k.Input((12, 12, 2)), L.Conv2D(6, 3, activation="relu"), L.MaxPooling2D(), L.Conv2D(5, 3), L.ReLU()]
    end = (
        [L.Flatten(), L.Dense(9, "relu"), L.Dropout(0.5), L.Dense(4)]
        if flatten
        else [L.GlobalAveragePooling2D(), L.Dense(4)]
    )
    return zoo.quantized(k.Sequential([*first, *end]), density=0.6)


def _kill(model, place: int, units: list[int], how: str):
    """Make units of a layer dead: "unused", or "silent", which is 0 whatever comes in."""
    layers = [layer for layer in model.layers if layer.weights]
    layer, after = layers[place], layers[place + 1]
    if how == "unused":
        kernel = after.kernel.numpy()
        by_channel = kernel.reshape(-1, layer.kernel.shape[-1], kernel.shape[-1])
        by_channel[:, units] = 0
        after.kernel.assign(by_channel.reshape(kernel.shape))
    else:
        kernel, bias = layer.get_weights()
        kernel[..., units] = 0
        bias[units] = -1  # a ReLU makes 0 of it
        layer.set_weights([kernel, bias])


def _assert_computes_the_same(one, two):
    x = np.random.default_rng(0).standard_normal((3, *one.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(one(x), two(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("place, units, how", [(0, [1, 4], "unused"), (1, [0], "unused"), (2, [2, 3], "unused")])
def test_unused_units_are_dropped(place, units, how):
    model = _network()
    _kill(model, place, units, how)
    small = coding.drop_dead_units(model)
    _assert_computes_the_same(model, small)
    layer = [layer for layer in small.layers if layer.weights][place]
    assert layer.kernel.shape[-1] <= [6, 5, 9][place] - len(units)
    assert small.count_params() < model.count_params()


@pytest.mark.parametrize("place", [0, 2])
def test_silent_units_are_dropped(place):
    model = _network()
    _kill(model, place, [1, 2], "silent")
    small = coding.drop_dead_units(model)
    _assert_computes_the_same(model, small)
    assert [layer for layer in small.layers if layer.weights][place].kernel.shape[-1] <= [6, 5, 9][place] - 2


def test_a_unit_whose_only_user_is_dead_is_dead():
    model = _network()
    _kill(model, 2, list(range(8)), "unused")
    small = coding.drop_dead_units(model)
    _assert_computes_the_same(model, small)
    assert [layer for layer in small.layers if layer.weights][2].kernel.shape[-1] == 1


def test_a_unit_without_weights_that_gives_a_constant_stays():
    model = _network()
    layer = [layer for layer in model.layers if layer.weights][2]
    kernel, bias = layer.get_weights()
    kernel[:], bias[:] = 0, 1
    layer.set_weights([kernel, bias])
    small = coding.drop_dead_units(model)
    _assert_computes_the_same(model, small)
    assert [layer for layer in small.layers if layer.weights][2].kernel.shape[-1] > 1


@pytest.mark.parametrize("flatten", [True, False])
def test_sorted_units_compute_the_same_in_fewer_bytes_and_the_same_shapes(flatten):
    model = _network(flatten)
    _kill(model, 0, [0, 2], "unused")
    tidy = coding.sort_units(model)
    _assert_computes_the_same(model, tidy)
    assert [w.shape for w in tidy.weights] == [w.shape for w in model.weights]
    assert len(coding.compress(tidy)) < len(coding.compress(model))
    fan = (tidy.layers[0].kernel.numpy() != 0).sum((0, 1, 2))
    assert (np.diff(fan) <= 0).all() and (fan[-2:] == 0).all()


def test_negative_zeros_become_zeros():
    model = _network()
    kernel = model.layers[0].kernel
    kernel.assign(-0.0 * np.ones(kernel.shape, np.float32))
    assert not np.signbit(coding.sort_units(model).layers[0].kernel.numpy()).any()


@pytest.mark.parametrize("kind", zoo.KINDS, ids=lambda kind: kind.__name__)
def test_networks_of_other_kinds_stay_as_they_are_where_units_cannot_move(kind):
    if kind in (zoo.half, zoo.named):
        return
    model = zoo.quantized(kind())
    tidy = coding.sort_units(model)
    inputs = [np.ones([2, *(4 if d is None else d for d in t.shape[1:])], t.dtype.name) for t in model.inputs]
    import tensorflow as tf

    for one, two in zip(tf.nest.flatten(model(inputs)), tf.nest.flatten(tidy(inputs)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", dead_units._ACTIVATIONS)
def test_activations_that_may_follow_a_silent_unit_keep_zeros(name):
    import tf_keras

    assert float(tf_keras.activations.get(name)(np.zeros(1, np.float32))[0]) == 0.0


_ALIKE = (
    *("MaxPooling{}D", "AveragePooling{}D", "GlobalMaxPooling{}D", "GlobalAveragePooling{}D", "ZeroPadding{}D"),
    *("UpSampling{}D", "Cropping{}D"),
)
_WITHOUT_D = ("Dropout", "Flatten", "ReLU", "LeakyReLU")


def _killed(dimensions: int, between):
    """A convolution with two unused filters of six, a layer behind it, and one that reads them."""
    import tf_keras as k

    L = k.layers
    first = getattr(L, f"Conv{dimensions}D")(6, 2, activation="relu")
    model = k.Sequential([k.Input((*[7] * dimensions, 1)), first, between])
    last = L.Dense(3) if len(model.output_shape) == 2 else getattr(L, f"Conv{dimensions}D")(3, 2)
    model.add(last)
    _kill(model, 0, [1, 4], "silent")
    return model


def _filters_left(model) -> int:
    small = coding.drop_dead_units(model)
    _assert_computes_the_same(model, small)
    return small.layers[0].kernel.shape[-1]


@pytest.mark.parametrize("name", [*_ALIKE, *_WITHOUT_D, "SpatialDropout1D", "SpatialDropout2D", "Activation"])
def test_layers_that_treat_channels_alike_may_stand_between(name):
    import tf_keras

    for dimensions in (1, 2, 3) if "{}" in name or name in _WITHOUT_D else (2 if "2D" in name else 1,):
        given = ("tanh",) if name == "Activation" else (0.5,) if "Dropout" in name else ()
        between = getattr(tf_keras.layers, name.format(dimensions))(*given)
        assert _filters_left(_killed(dimensions, between)) == 4, (name, dimensions)


_OTHERS = {
    "BatchNormalization": {},
    "LayerNormalization": {},
    "Softmax": {},
    "PReLU": {},
    "Permute": {"dims": (2, 1, 3)},
    "Activation": {"activation": "sigmoid"},
    "ReLU": {"threshold": 0.5},
    "DepthwiseConv2D": {"kernel_size": 2},
}


@pytest.mark.parametrize("name, settings", _OTHERS.items(), ids=_OTHERS)
def test_behind_other_layers_every_unit_stays(name, settings):
    import tf_keras

    assert _filters_left(_killed(2, getattr(tf_keras.layers, name)(**settings))) == 6


_KEEPING_ZERO = ("linear", "relu", "relu6", "tanh", "elu", "selu", "gelu", "swish", "softsign", "leaky_relu", "mish")


@pytest.mark.parametrize("activation", _KEEPING_ZERO)
def test_a_silent_unit_of_each_known_activation_is_dropped(activation):
    import tf_keras as k

    model = k.Sequential([k.Input((4,)), k.layers.Dense(5, activation), k.layers.Dense(2)])
    kernel, _, *rest = model.get_weights()
    kernel[:, 3] = 0
    model.set_weights([kernel, np.zeros(5), *rest])
    assert _filters_left(model) == 4


def test_behind_a_function_of_ones_own_every_unit_stays_though_it_is_called_as_keras_is():
    import tensorflow as tf
    import tf_keras as k

    def tanh(x):
        return x - tf.reduce_mean(x, -1, keepdims=True)

    for own in ([k.layers.Dense(5, tanh)], [k.layers.Dense(5), k.layers.Activation(tanh)]):
        model = k.Sequential([k.Input((4,)), *own, k.layers.Dense(2)])
        kernel, *rest = model.get_weights()
        kernel[:, 3] = 0
        model.set_weights([kernel, *rest])
        x = np.random.default_rng(0).standard_normal((9, 4)).astype(np.float32)
        np.testing.assert_allclose(coding.drop_dead_units(model)(x), model(x), atol=1e-6)
        assert _filters_left(model) == 5
