"""Roles and output channels of weights are what the layers compute with them."""

from __future__ import annotations

import numpy as np
import pytest
import tf_keras

from utils.optimize import keras_weights

K = tf_keras.layers
PICTURE, ROW, STEP = (4, 4, 3), (5, 3), (1, 3)


@pytest.mark.parametrize(
    "layer, shape",
    [
        (lambda: K.Dense(4), (3,)),
        (lambda: K.Conv1D(4, 2), ROW),
        (lambda: K.Conv2D(4, 2), PICTURE),
        (lambda: K.Conv2D(6, 2, groups=3), PICTURE),
        (lambda: K.Conv3D(4, 2), (3, 3, 3, 2)),
        (lambda: K.Conv1DTranspose(4, 2), ROW),
        (lambda: K.Conv2DTranspose(4, 2), PICTURE),
        (lambda: K.Conv3DTranspose(4, 2), (3, 3, 3, 2)),
        (lambda: K.DepthwiseConv1D(2, depth_multiplier=2), ROW),
        (lambda: K.DepthwiseConv2D(2, depth_multiplier=2), PICTURE),
        (lambda: K.LocallyConnected1D(4, 2), ROW),
        (lambda: K.LocallyConnected2D(4, 2, implementation=2), PICTURE),
        (lambda: K.EinsumDense("abc,cd->abd", (None, 4)), (2, 3)),
        (lambda: K.EinsumDense("abc,dc->abd", (None, 4)), (2, 3)),
        (lambda: K.TimeDistributed(K.Conv2DTranspose(4, 2)), (2, *PICTURE)),
        (lambda: K.SimpleRNN(4), STEP),
        (lambda: K.ConvLSTM1D(4, 2), (1, *ROW)),
        (lambda: K.GRU(4), STEP),
    ],
)
def test_a_change_in_one_output_channel_of_a_kernel_changes_that_channel_of_the_output_alone(layer, shape):
    model = tf_keras.Sequential([K.Input(shape), layer()])
    rng = np.random.default_rng(0)
    x = rng.uniform(0.5, 1, (2, *shape)).astype(np.float32)
    model.set_weights([rng.uniform(0.02, 0.2, w.shape) for w in model.get_weights()])
    (kernel,) = (w for w in keras_weights.weights(model) if w.role in ("kernel", "depthwise kernel"))
    before, values = np.array(model(x)), kernel.variable.numpy()
    sizes = [values.shape[axis] for axis in kernel.channels]
    reached = set()
    for channel in range(int(np.prod(sizes))):
        changed = np.moveaxis(values.copy(), kernel.channels, range(len(sizes)))
        changed[np.unravel_index(channel, sizes)] *= 1.5
        kernel.variable.assign(np.moveaxis(changed, range(len(sizes)), kernel.channels))
        moved = np.abs(np.array(model(x)) - before).reshape(-1, before.shape[-1]).max(axis=0) > 0
        assert set(np.flatnonzero(moved)) <= {channel % before.shape[-1]}  # gates lie one behind the other,
        reached |= set(np.flatnonzero(moved))  # and a forget gate does nothing in the first step
    assert reached == set(range(before.shape[-1]))


@pytest.mark.parametrize(
    "layer, shape, roles",
    [
        (lambda: K.SeparableConv1D(4, 2), ROW, ["depthwise kernel", "kernel", "bias"]),
        (lambda: K.LSTM(2, use_bias=False), ROW, ["kernel", "recurrent kernel"]),
        (lambda: K.ConvLSTM2D(2, 2), (2, *PICTURE), ["kernel", "recurrent kernel", "bias"]),
        (lambda: K.LocallyConnected1D(4, 2, implementation=3), ROW, ["kernel", "bias"]),
        (lambda: K.SeparableConv2D(4, 2), PICTURE, ["depthwise kernel", "kernel", "bias"]),
        (lambda: K.GRU(2), ROW, ["kernel", "recurrent kernel", "bias"]),
        (lambda: K.Bidirectional(K.LSTM(2)), ROW, ["kernel", "recurrent kernel", "bias"] * 2),
        (lambda: K.RNN([K.LSTMCell(2), K.SimpleRNNCell(2)]), ROW, ["kernel", "recurrent kernel", "bias"] * 2),
        (lambda: K.PReLU(), PICTURE, ["slope"]),
        (lambda: K.BatchNormalization(), PICTURE, ["normalization"] * 4),
        (lambda: K.LayerNormalization(), ROW, ["normalization"] * 2),
        (lambda: K.GroupNormalization(3), PICTURE, ["normalization"] * 2),
        (lambda: K.Normalization(), ROW, ["normalization"] * 3),
        (lambda: K.Embedding(7, 2), (5,), ["embedding"]),
        (lambda: K.SpectralNormalization(K.Dense(3)), (4,), ["kernel", "unknown", "bias"]),
        (lambda: tf_keras.Sequential([K.Dense(2), K.ReLU()]), (4,), ["kernel", "bias"]),
    ],
)
def test_each_weight_has_its_role_wrapped_or_not(layer, shape, roles):
    model = tf_keras.Sequential([K.Input(shape), layer()])
    found = keras_weights.weights(model)
    assert [w.role for w in found] == roles and set(roles) <= set(keras_weights.ROLES)
    assert {id(w.variable) for w in found} == {id(w) for w in model.weights}
    assert all(w.role == "unknown" or getattr(w.layer, w.attribute) is w.variable for w in found)
    assert [w.is_kernel for w in found] == ["kernel" in w.role or w.role == "embedding" for w in found]
    assert all((w.channels is not None) == w.is_kernel for w in found)


def test_attention_has_heads_and_keys_as_channels():
    x = tf_keras.Input((3, 4))
    model = tf_keras.Model(x, K.MultiHeadAttention(2, 5)(x, x))
    channels = {w.layer.name: w.channels for w in keras_weights.kernels(model)}
    assert channels == {"query": (1, 2), "key": (1, 2), "value": (1, 2), "attention_output": (2,)}


def test_a_layer_of_ones_own_is_unknown_and_a_subclass_is_not():
    class Own(K.Layer):
        def build(self, shape):
            self.matrix = self.add_weight("kernel", (shape[-1], 2))

        def call(self, x):
            return x @ self.matrix

    class Louder(K.Dense):
        def build(self, shape):
            super().build(shape)
            self.factor = self.add_weight("factor", ())

    model = tf_keras.Sequential([K.Input((3,)), Own(), Louder(2)])
    assert [(w.attribute, w.role, w.channels) for w in keras_weights.weights(model)] == [
        ("matrix", "unknown", None),
        ("kernel", "kernel", (1,)),
        ("bias", "bias", None),
        ("factor", "unknown", None),
    ]


def test_factors_of_attention_are_no_kernels():
    x = tf_keras.Input((3, 4))
    layers = [K.Attention(use_scale=True, score_mode="concat"), K.AdditiveAttention()]
    model = tf_keras.Model(x, [layer([x, x]) for layer in layers])
    found = [(w.attribute, w.role) for w in keras_weights.weights(model)]
    assert sorted(found) == [("concat_score_weight", "scale"), ("scale", "scale"), ("scale", "scale")]
    assert keras_weights.kernels(model) == []


def test_a_locally_connected_kernel_has_its_channels_where_it_stores_them():
    def channels(**settings):
        shape = (3, 4, 5) if settings.get("data_format") == "channels_first" else (4, 5, 3)
        model = tf_keras.Sequential([K.Input(shape), K.LocallyConnected2D(6, 2, **settings)])
        (kernel,) = keras_weights.kernels(model)
        assert all(kernel.variable.shape[axis] == 6 for axis in kernel.channels)
        return kernel.channels

    assert channels(implementation=1) == (2,) and channels(implementation=3) == ()
    assert channels(implementation=2) == (5,)
    assert channels(implementation=2, data_format="channels_first") == (3,)


def test_the_roles_and_those_that_are_kernels():
    assert list(keras_weights.ROLES) == [
        *("kernel", "depthwise kernel", "recurrent kernel", "embedding", "bias", "normalization"),
        *("slope", "scale", "unknown"),
    ]
    assert keras_weights.KERNELS == ("kernel", "depthwise kernel", "recurrent kernel", "embedding")


def test_a_name_is_that_of_the_model_without_a_number():
    model = tf_keras.Sequential([K.Input((3,)), K.Dense(2, name="dense")])
    assert [w.name for w in keras_weights.weights(model)] == ["dense/kernel", "dense/bias"]


def test_a_shared_layer_counts_once():
    x, shared = tf_keras.Input((3,)), K.Dense(3)
    assert len(keras_weights.weights(tf_keras.Model(x, shared(shared(x))))) == 2
