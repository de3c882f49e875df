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


def test_a_layer_that_is_called_twice_stays_one_and_nothing_is_shared():
    left, right = keras.Input((4,), name="left"), keras.Input((4,), name="right")
    twice = keras.layers.Dense(3, name="twice")
    end = keras.layers.Concatenate(name="both")([twice(left), twice(right)])
    model = keras.Model({"left": left, "right": right}, end, name="pair")
    twin = keras_3.keras_2(model)
    assert twin.name == "pair" and [layer.name for layer in twin.layers].count("twice") == 1
    x = {
        name: np.random.default_rng(i).normal(size=(2, 4)).astype("float32") for i, name in enumerate(("left", "right"))
    }
    wanted = np.asarray(model(x))
    np.testing.assert_allclose(twin([x["left"], x["right"]]), wanted, atol=1e-6)
    twin.set_weights([0 * w for w in twin.get_weights()])
    np.testing.assert_array_equal(np.asarray(model(x)), wanted)


def test_a_sequential_model_is_rebuilt_and_what_has_no_graph_is_refused():
    model = keras.Sequential([keras.layers.Input((4,)), keras.layers.Dense(3, activation="relu", name="dense")])
    twin, x = keras_3.keras_2(model), np.ones((2, 4), np.float32)
    np.testing.assert_allclose(twin(x), np.asarray(model(x)), atol=1e-6)

    class Subclassed(keras.Model):
        def call(self, x):
            return x

    for bad in (keras.Sequential([keras.layers.Dense(3)]), Subclassed()):
        with pytest.raises(ValueError, match="only built Sequential and functional models"):
            keras_3.keras_2(bad)


def test_a_setting_that_keras_2_has_not_is_said_with_the_layer():
    class Own(keras.constraints.Constraint):
        pass

    start = keras.Input((4,))
    end = keras.layers.Dense(2, kernel_constraint=Own(), name="end")(start)
    with pytest.raises(ValueError, match="'end', a Dense, cannot be rebuilt with Keras 2"):
        keras_3.keras_2(keras.Model(start, end))


def test_keras_2_names_what_it_cannot_rebuild():
    start = keras.Input((4,))
    with pytest.raises(ValueError, match="Relu, which Keras 2 has not"):
        keras_3.keras_2(keras.Model(start, keras.ops.relu(start)))
    with pytest.raises(TypeError, match="pass a Keras 3 model"):
        keras_3.keras_2(network())
