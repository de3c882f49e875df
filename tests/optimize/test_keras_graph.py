"""A walked or rebuilt model computes what the model computes, whatever its layers are, and shares nothing with it."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from utils.optimize import keras_graph

K = tf_keras.layers


def sequential():
    return tf_keras.Sequential(
        [K.Input((8, 8, 2)), K.Conv2D(3, 3), K.BatchNormalization(), K.ReLU(), K.Flatten(), K.Dense(4)]
    )


def branched():
    x = tf_keras.Input((6,))
    left, right = K.Dense(5, activation="relu", name="left")(x), K.Dense(5, name="right")(x)
    return tf_keras.Model(x, K.Dense(2)(K.Add()([left, right])))


def twice():
    x = tf_keras.Input((4,))
    shared = K.Dense(4)
    return tf_keras.Model(x, shared(shared(x)))


def two_ends():
    a, b = tf_keras.Input((3,), name="a"), tf_keras.Input((4,), name="b")
    joined = K.Concatenate()([a, b])
    return tf_keras.Model([a, b], [K.Dense(2)(joined), K.Dense(1, "sigmoid")(joined)])


def sequence():
    return tf_keras.Sequential([K.Input((9, 2)), K.Conv1D(3, 3, padding="same"), K.LSTM(4), K.Dense(1)])


def nested():
    return tf_keras.Sequential([K.Input((4,)), tf_keras.Sequential([K.Input((4,)), K.Dense(3)]), K.Dense(2)])


MODELS = [sequential, branched, twice, two_ends, sequence, nested]


def examples(model, n=5):
    rng = np.random.default_rng(0)
    return [rng.normal(size=(n, *t.shape[1:])).astype(np.float32) for t in model.inputs]


@pytest.mark.parametrize("build", MODELS)
def test_a_rebuilt_model_computes_the_same_and_shares_nothing(build):
    model = build()
    x = examples(model)
    for weights in model.weights:
        weights.assign(tf.random.stateless_uniform(weights.shape, (1, 2), 0.1, 1.0))
    before = [np.array(y) for y in tf.nest.flatten(model(x if len(x) > 1 else x[0]))]
    copy = keras_graph.rebuild(model)
    for mine, theirs in zip(tf.nest.flatten(copy(x if len(x) > 1 else x[0])), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert copy.input_names == model.input_names
    copy.set_weights([0 * w for w in copy.get_weights()])
    after = [np.array(y) for y in tf.nest.flatten(model(x if len(x) > 1 else x[0]))]
    assert all(np.array_equal(a, b) for a, b in zip(after, before, strict=True))


def test_walking_visits_every_call_in_order():
    seen = []
    model = branched()

    def call(layer, arguments, _):
        seen.append(layer.name)
        return layer(*arguments)

    out = keras_graph.walk(model, [tf.ones((1, 6))], call)
    assert seen.index("left") < len(seen) - 2 and set(seen[:2]) == {"left", "right"} and len(seen) == 4
    np.testing.assert_allclose(out, model(tf.ones((1, 6))), rtol=1e-6)


def test_a_layer_can_be_left_out_and_set_otherwise():
    model = sequential()

    def drop(layer, arguments, apply):
        return arguments[0] if layer is None or isinstance(layer, K.ReLU) else apply(layer, *arguments)

    name = model.layers[0].name
    changed = keras_graph.rebuild(model, drop, {name: {"activation": "relu"}})
    assert not any(isinstance(layer, K.ReLU) for layer in changed.layers)
    assert changed.get_layer(name).activation is tf_keras.activations.relu
    np.testing.assert_array_equal(changed.get_layer(name).get_weights()[0], model.get_layer(name).get_weights()[0])


def test_what_has_no_graph_is_named():
    class Own(tf_keras.Model):
        pass

    with pytest.raises(TypeError, match=r"takes a tf_keras model; got builtins\.str"):
        keras_graph.require_graph("model")
    with pytest.raises(ValueError, match="functional interface"):
        keras_graph.require_graph(Own())
    with pytest.raises(ValueError, match="Input layer"):
        keras_graph.require_graph(tf_keras.Sequential([K.Dense(2)]))


@pytest.mark.parametrize(
    "x, said",
    [
        (np.zeros((3, 8, 8)), r"shape \(3, 8, 8\); the model takes \(n, 8, 8, 2\)"),
        (np.zeros((0, 8, 8, 2)), "n at least 1"),
        (np.full((1, 8, 8, 2), np.nan), "NaN"),
        ([np.zeros((1, 8, 8, 2))] * 2, "1 inputs, got 2 arrays"),
    ],
)
def test_samples_that_do_not_fit_are_refused_in_a_sentence(x, said):
    with pytest.raises(ValueError, match=said):
        keras_graph.input_arrays(sequential(), x)


def test_inputs_need_as_many_samples_each():
    with pytest.raises(ValueError, match=r"\[2, 3\] many"):
        keras_graph.input_arrays(two_ends(), [np.zeros((2, 3)), np.zeros((3, 4))])
