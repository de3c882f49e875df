"""Structures: what Keras chooses anyway is left out, and what was described is built again."""

from __future__ import annotations

import json

import numpy as np
import pytest

from tests.optimize.coding import zoo
from utils.optimize.coding import structure


def test_what_keras_chooses_is_left_out():
    text = structure.describe(zoo.pictures(), names=False)
    assert text == (
        '["Sequential",{},[[12,12,1]],[["Conv2D",{"filters":4,"kernel_size":5,"activation":"relu"}],["MaxPooling2D"],'
        '["Flatten"],["Dense",{"units":3}]]]'
    )


@pytest.mark.parametrize("kind", zoo.KINDS, ids=lambda kind: kind.__name__)
def test_a_described_network_is_built_again(kind):
    model = kind()
    text, layers = structure.described(model)
    built, again = structure.build(text, model.count_params())
    assert structure.describe(built) == text
    assert [w.shape for w in built.weights] == [w.shape for w in model.weights]
    assert [type(layer).__name__ for layer in layers if layer.weights] == [
        type(layer).__name__ for layer in again if layer.weights and layer in _described(built)
    ]
    with pytest.raises(structure.TooLarge):
        structure.build(text, model.count_params() - 1)


def _described(model):
    return structure.described(model)[1]


# ---------------------------------------------------------------- what a word in a file does not stand for


def _sequential(shape, *layers):
    import tf_keras as k

    return k.Sequential([k.Input(shape), *layers])


def _gelu(x):
    return 2 * x


def _own(name):
    """A class of one's own that is called as Keras' is."""
    import tf_keras as k

    return type(name, (getattr(k, name, None) or getattr(k.layers, name),), {})


@pytest.mark.parametrize("name", ["gelu", "relu", "softmax", "mine"])
def test_a_function_of_ones_own_is_refused_though_it_is_called_as_keras_is(name):
    import functools

    import tf_keras as k

    L = k.layers
    function = functools.partial(_gelu) if name == "mine" else type(_gelu)(_gelu.__code__, globals(), name)
    models = [_sequential((3,), L.Dense(2, function)), _sequential((3,), L.Dense(2), L.Activation(function))]
    models.append(_sequential((4, 3), L.LSTM(2, recurrent_activation=function)))
    for model in models:
        with pytest.raises(ValueError, match=r"activation' of layer .* is a function of your own, .*pass one of"):
            structure.describe(model)


@pytest.mark.parametrize("name", ["relu6", "leaky_relu", "silu", "gelu", "relu"])
def test_functions_that_keras_knows_by_name_come_back_from_tf_nn_too(name):
    import tensorflow as tf
    import tf_keras as k

    x = np.linspace(-9, 9, 12, dtype=np.float32).reshape(4, 3)
    for function in (name, getattr(tf.nn, name)):
        model = _sequential((3,), k.layers.Activation(function))
        built, _ = structure.build(structure.describe(model), 1)
        np.testing.assert_array_equal(built(x), model(x))


def test_a_class_of_ones_own_is_refused_though_it_is_called_as_keras_is():
    import tf_keras as k

    L = k.layers
    x = k.Input((3,))
    models = {
        "Dense": _sequential((4, 3), L.TimeDistributed(_own("Dense")(2))),
        "LSTMCell": _sequential((4, 3), L.RNN(_own("LSTMCell")(2))),
        "LeakyReLU": _sequential((3,), L.Dense(2, _own("LeakyReLU")())),
        "Model": _own("Model")(x, L.Dense(2)(x)),
        "Sequential": _sequential((4, 3), L.TimeDistributed(_own("Sequential")([k.Input((3,)), L.Dense(2)]))),
    }
    for name, model in models.items():
        with pytest.raises(ValueError, match=rf"is a {name}, (a class of its own|which a compressed file cannot hold)"):
            structure.describe(model)


def test_settings_and_outputs_that_no_file_can_hold_are_named():
    import tf_keras as k

    with pytest.raises(ValueError, match=r"'max_value' of layer 'cut' is inf; .* finite numbers"):
        structure.describe(_sequential((3,), k.layers.ReLU(float("inf"), name="cut")))
    with pytest.raises(ValueError, match=r"'scale' of layer 'scaled' is \[1.0, nan\]"):
        structure.describe(_sequential((2,), k.layers.Rescaling(np.array([1, np.nan]), name="scaled")))
    x = k.Input((3,))
    with pytest.raises(ValueError, match="an output stands under 1; a file can hold words"):
        structure.describe(k.Model(x, {1: k.layers.Dense(2)(x)}))


# ---------------------------------------------------------------- small texts, endless work


def _calls(shape, layer, count):
    """A model that calls one layer again and again."""
    chain = [[0, [{"t": number}], {"d": {}}] for number in range(count)]
    return ["Functional", {}, [shape], [layer], chain, {"t": 0}, {"t": count}]


@pytest.mark.parametrize(
    "description",
    [
        _calls([2, 3], ["TimeDistributed", {"layer": {"@": _calls([3], ["ReLU"], 9)}}], 9),
        _calls([9, 1], ["SimpleRNN", {"units": 1, "unroll": True, "return_sequences": True}], 6),
        _calls(
            [2, 1, {"batch_size": 9}],
            ["SimpleRNN", {"units": 1, "unroll": True, "return_sequences": True, "time_major": True}],
            6,
        ),
    ],
)
def test_calls_inside_of_wrappers_and_unrolled_steps_count(description, monkeypatch):
    text = json.dumps(description)
    structure.build(text, 100)
    monkeypatch.setattr(structure, "_MOST_CALLS", 50)
    with pytest.raises(structure.Damaged, match="calls layers more than 50 times"):
        structure.build(text, 100)


def test_steps_of_a_model_inside_are_not_those_of_what_it_is_given():
    """Inside, 2,000 numbers are two steps of a thousand."""
    import tf_keras as k

    L = k.layers
    inner = _sequential((2000,), L.Reshape((2, 1000)), L.SimpleRNN(1, unroll=True))
    text = structure.describe(_sequential((2000,), inner))
    assert structure.describe(structure.build(text, 2000)[0]) == text
