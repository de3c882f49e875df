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
