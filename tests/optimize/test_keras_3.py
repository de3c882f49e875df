"""A Keras 3 model in Keras 2 has its weights, its graph and its settings."""

import keras
import numpy as np
import pytest
import tensorflow_model_optimization as tfmot
import tf_keras

from tests.little import network
from utils.optimize import keras_3
from utils.optimize.toolkit.wrapping import says

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


# ---------------------------------------------------------------- the same numbers, or a sentence

L = keras.layers


def sequential(shape, *layers, **settings):
    model = keras.Sequential([keras.Input(shape, **settings), *layers])
    rng = np.random.default_rng(3)
    model.set_weights([rng.normal(size=w.shape).astype(w.dtype) for w in model.get_weights()])
    return model


def nested():
    start = keras.Input((6,))
    inner = keras.Sequential([keras.Input((6,)), L.Dense(3), L.LeakyReLU(negative_slope=0.2)], name="inner")
    return keras.Model(start, L.Dense(2)(inner(start)))


def attending():
    x = keras.Input((5, 6))
    y = L.MultiHeadAttention(2, 4, flash_attention=False)(x, x, use_causal_mask=True)
    return keras.Model(x, L.Attention(use_scale=True, dropout=0.3)([y, x]))


@pytest.mark.parametrize(
    "build",
    [
        lambda: sequential((6,), L.LeakyReLU(negative_slope=0.1)),
        lambda: sequential((5, 6), L.Bidirectional(L.LSTM(4))),
        lambda: sequential((5, 6), L.TimeDistributed(L.LeakyReLU(negative_slope=0.05)), L.TimeDistributed(L.Dense(3))),
        lambda: sequential((5, 6), L.RNN([L.GRUCell(4), L.LSTMCell(3)])),
        lambda: sequential((6,), L.Dropout(0.5, seed=1), L.Dense(3, "gelu"), L.LayerNormalization(epsilon=0.1)),
        lambda: sequential((5, 6), L.GlobalAveragePooling1D(keepdims=True), L.SpatialDropout1D(0.2, seed=3)),
        nested,
        attending,
    ],
    ids=["leaky", "bidirectional", "distributed", "cells", "gelu", "average", "nested", "attention"],
)
def test_what_is_rebuilt_gives_the_same_numbers(build):
    model = build()
    x = 3 * np.random.default_rng(0).normal(size=(4, *model.input_shape[1:])).astype(np.float32)
    np.testing.assert_allclose(keras_3.keras_2(model)(x), np.asarray(model(x)), atol=1e-5)


def test_a_fixed_batch_stays_fixed():
    start = keras.Input(batch_shape=(2, 5, 6))
    model = keras.Model(start, L.LSTM(3, stateful=True)(start))
    twin, x = keras_3.keras_2(model), np.ones((2, 5, 6), np.float32)
    assert twin.input_shape == (2, 5, 6)
    np.testing.assert_allclose(twin(x), np.asarray(model(x)), atol=1e-6)


def test_each_layer_computes_as_before_and_may_be_frozen():
    model = sequential((6,), L.Dense(4, dtype="mixed_bfloat16"), L.Dense(3, dtype="float16"), L.Dense(2))
    model.layers[2].trainable = False
    layers = keras_3.keras_2(model).layers[1:]
    assert [layer.compute_dtype for layer in layers] == ["bfloat16", "float16", "float32"]
    assert [layer.trainable for layer in layers] == [True, True, False]


def quantized():
    model = sequential((6,), L.Dense(4, name="it"))
    model.quantize("int8")
    return model


def adapted():
    model = sequential((6,), L.Dense(4, name="it"))
    model.layers[0].enable_lora(2)
    return model


def masked():
    return sequential((5,), L.Embedding(7, 3, mask_zero=True), L.LSTM(3), dtype="int32")


@pytest.mark.filterwarnings("ignore:Layer InputLayer does not have a `quantize` method")
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy keyword")  # in Keras
@pytest.mark.parametrize(
    "build, said",
    [
        (lambda: sequential((6,), L.Dense(4, "hard_sigmoid", name="it")), "'it'.* hard_sigmoid is another function"),
        (lambda: sequential((6,), L.Activation("hard_sigmoid", name="it")), "'it'.* hard_sigmoid is another function"),
        (lambda: sequential((5, 6), L.LSTM(4, recurrent_activation="hard_sigmoid")), "hard_sigmoid is another"),
        (lambda: sequential((5, 6), L.TimeDistributed(L.Dense(4, "hard_sigmoid"))), "hard_sigmoid is another"),
        (
            lambda: sequential((8, 8, 3), L.Resizing(5, 5, antialias=True, name="it")),
            "'it', a Resizing, has antialias=T",
        ),
        (lambda: sequential((8, 8, 3), L.Resizing(5, 9, pad_to_aspect_ratio=True)), "has pad_to_aspect_ratio=True"),
        (quantized, "'it', a Dense, "),
        (adapted, "'it', a Dense, has lora_rank=2"),
        (masked, "a mask is made of it: leave out mask_zero"),
    ],
)
def test_what_would_give_other_numbers_is_refused(build, said):
    with pytest.raises(ValueError, match=said):
        keras_3.keras_2(build())
