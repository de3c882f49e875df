"""A Keras 3 model in Keras 2 has its weights, its graph and its settings."""

import keras
import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras

from tests.little import network
from utils.optimize import keras_3
from utils.optimize.toolkit.changes import says

K = tf_keras.layers

# The Toolkit compares versions with a class that setuptools has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


def test_keras_2_keeps_weights_and_graph():
    start = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(start)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Add(name="add")([x, keras.layers.ReLU(name="relu")(x)])
    model = keras.Model(start, keras.layers.Dense(2, activation="softmax", name="end")(keras.layers.Flatten()(x)))
    twin = keras_3.keras_2(model)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(twin(x), np.asarray(model(x)), atol=1e-5)
    assert says(tfmot.quantization.keras.quantize_model, twin) == "accepted"


def test_keras_2_keeps_penalties_and_constraints():
    start = keras.Input((4,))
    end = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.5), kernel_constraint="non_neg", name="end")
    twin = keras_3.keras_2(keras.Model(start, end(start))).get_layer("end")
    assert isinstance(twin.kernel_regularizer, tf_keras.regularizers.L2) and twin.kernel_regularizer.l2 == 0.5
    assert isinstance(twin.kernel_constraint, tf_keras.constraints.NonNeg)


def test_keras_2_names_what_it_cannot_rebuild():
    start = keras.Input((4,))
    with pytest.raises(ValueError, match="Relu, which Keras 2 has not"):
        keras_3.keras_2(keras.Model(start, keras.ops.relu(start)))
    with pytest.raises(TypeError, match="pass a Keras 3 model"):
        keras_3.keras_2(network())
