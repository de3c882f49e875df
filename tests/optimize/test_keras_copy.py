"""Copies of models of many kinds, and sentences about those that cannot be copied."""

import numpy as np
import pytest
import tensorflow as tf
import tf_keras

from utils.optimize.keras_copy import copy_model

L = tf_keras.layers


def nested():
    inner = tf_keras.Sequential([L.Input((5,)), L.Dense(4), L.BatchNormalization()], name="inner")
    a, b, shared = tf_keras.Input((5,)), tf_keras.Input((5,)), L.Dense(5, name="block/shared")
    return tf_keras.Model([a, b], [L.Add()([inner(shared(a)), inner(shared(b))]), L.Dense(2)(a)])


def test_a_copy_computes_the_same_and_shares_nothing():
    model = nested()
    x = [np.random.default_rng(i).normal(size=(3, 5)).astype(np.float32) for i in range(2)]
    before, copy = model.predict(x, verbose=0), copy_model(model)
    for a, b in zip(before, copy.predict(x, verbose=0), strict=True):
        np.testing.assert_array_equal(a, b)
    copy.set_weights([w * 0 for w in copy.get_weights()])
    np.testing.assert_array_equal(before[0], model.predict(x, verbose=0)[0])


class NoConfig(L.Layer):
    def __init__(self, factor):
        super().__init__()
        self.factor = factor

    def get_config(self):
        return {"name": self.name}

    def call(self, x):
        return x * self.factor


def test_what_cannot_be_copied_is_said():
    layer = L.TextVectorization(9)
    layer.adapt(["a b"])
    text = tf_keras.Sequential([L.Input((1,), dtype=tf.string), layer, L.Embedding(9, 2)])
    half = tf_keras.Sequential([L.Input((3,)), L.Dense(2, dtype="mixed_float16")])
    cases = [
        (tf_keras.Sequential([L.Input((3,)), NoConfig(2.0)]), "cannot be copied.*look at NoConfig"),
        (text, "prepares text or tables.*x = layer"),
        (half, "computes in float16"),
    ]
    for model, said in cases:
        with pytest.raises(ValueError, match=said):
            copy_model(model)
