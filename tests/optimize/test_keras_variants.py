"""The same network in another form gives the same outputs."""

import keras
import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras

from tests.little import network
from utils.optimize import keras_variants
from utils.optimize.toolkit.changes import says
from utils.optimize.toolkit.layer_samples import LAYERS

K = tf_keras.layers

# The Toolkit compares versions with a class that setuptools has deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:distutils Version classes are deprecated:DeprecationWarning")


@pytest.fixture(autouse=True)
def seed():
    tf_keras.utils.set_random_seed(1)


def test_flattened_opens_nested_and_subclassed_models():
    class Own(tf_keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = K.Dense(3, name="inside")

        def call(self, x):
            return self.dense(x)

    start = tf_keras.Input((4,))
    inner = tf_keras.Sequential([tf_keras.Input((4,)), K.Dense(4, name="a"), K.ReLU(name="b")])
    x = K.Add(name="sum")([start, inner(start)])
    model = tf_keras.Model(start, Own()(x))
    flat = keras_variants.flattened(model)
    assert [layer.name for layer in flat.layers[1:]] == ["a", "b", "sum", "inside"]
    x = np.random.default_rng(0).normal(size=(5, 4)).astype("float32")
    np.testing.assert_array_equal(flat(x), model(x))


def test_keras_2_keeps_weights_and_graph():
    start = keras.Input((8, 8, 3))
    x = keras.layers.Conv2D(4, 3, padding="same", name="conv")(start)
    x = keras.layers.BatchNormalization(name="bn")(x)
    x = keras.layers.Add(name="add")([x, keras.layers.ReLU(name="relu")(x)])
    model = keras.Model(start, keras.layers.Dense(2, activation="softmax", name="end")(keras.layers.Flatten()(x)))
    twin = keras_variants.keras_2(model)
    x = np.random.default_rng(0).normal(size=(3, 8, 8, 3)).astype("float32")
    np.testing.assert_allclose(twin(x), np.asarray(model(x)), atol=1e-5)
    assert says(tfmot.quantization.keras.quantize_model, twin) == "accepted"


def test_keras_2_keeps_penalties_and_constraints():
    start = keras.Input((4,))
    end = keras.layers.Dense(2, kernel_regularizer=keras.regularizers.L2(0.5), kernel_constraint="non_neg", name="end")
    twin = keras_variants.keras_2(keras.Model(start, end(start))).get_layer("end")
    assert isinstance(twin.kernel_regularizer, tf_keras.regularizers.L2) and twin.kernel_regularizer.l2 == 0.5
    assert isinstance(twin.kernel_constraint, tf_keras.constraints.NonNeg)


def test_keras_2_names_what_it_cannot_rebuild():
    start = keras.Input((4,))
    with pytest.raises(ValueError, match="Relu, which Keras 2 has not"):
        keras_variants.keras_2(keras.Model(start, keras.ops.relu(start)))
    with pytest.raises(TypeError, match="pass a Keras 3 model"):
        keras_variants.keras_2(network())


def test_example_input_fits_types_and_unknown_sizes():
    words, picture = tf_keras.Input((None,), dtype="int32"), tf_keras.Input((2, 3))
    model = tf_keras.Model([words, picture], [K.Embedding(2, 2)(words), picture])
    first, second = keras_variants.example_input(model, 5)
    assert first.shape == (5, 8) and first.dtype == np.int32 and set(np.unique(first)) <= {0, 1}
    assert second.shape == (5, 2, 3) and second.dtype == np.float32
    with pytest.raises(ValueError, match="at least one"):
        keras_variants.example_input(model, 0)


def test_unrolling_keeps_the_outputs_and_needs_a_loop():
    model = LAYERS["GRU"]()
    x = keras_variants.example_input(model, 3)[0]
    np.testing.assert_allclose(keras_variants.unrolled(model)(x), model(x), atol=1e-6)
    with pytest.raises(ValueError, match="no layer of the model can be unrolled"):
        keras_variants.unrolled(LAYERS["Dense"]())
