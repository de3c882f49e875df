"""Networks of all kinds that a compressed file may hold, with weights of few values and many zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np


def quantized(model: Any, density: float = 0.3, seed: int = 0) -> Any:
    """The same model, its float32 weights multiples of a step, most of them zero."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        constants = weight.name in ("mean:0", "variance:0")  # Normalization has made constants of them
        if weight.dtype == "float32" and not constants:
            codes = rng.integers(-4, 5, weight.shape) * (rng.random(weight.shape) < density)
            weight.assign((codes * np.float32(0.013)).astype(np.float32))
    return model


def pictures() -> Any:
    import tf_keras as k

    L = k.layers
    return k.Sequential(
        [k.Input((12, 12, 1)), L.Conv2D(4, 5, activation="relu"), L.MaxPooling2D(), L.Flatten(), L.Dense(3)]
    )


def shared() -> Any:
    import tf_keras as k

    x, dense = k.Input((6,)), k.layers.Dense(6)
    return k.Model(x, [dense(dense(x)), k.layers.Dense(3, name="head/a")(x)])


def named() -> Any:
    import tf_keras as k

    a, b = k.Input((4,), name="a"), k.Input((5,), name="b")
    return k.Model({"a": a, "b": b}, {"out": k.layers.Dense(2)(k.layers.Concatenate()([a, b]))})


def nested() -> Any:
    import tf_keras as k

    inner = k.Sequential([k.Input((8,)), k.layers.Dense(8, "tanh"), k.layers.BatchNormalization()], name="inner")
    x = k.Input((8,))
    y = inner(x)
    return k.Model(x, k.layers.Add()([inner(y), y]))


def text() -> Any:
    import tf_keras as k

    L = k.layers
    parts = [L.Embedding(20, 6, mask_zero=True), L.Bidirectional(L.LSTM(5, return_sequences=True)), L.GRU(4)]
    return k.Sequential([k.Input((None,), dtype="int32"), *parts, L.Dense(1, "sigmoid")])


def states() -> Any:
    import tf_keras as k

    x = k.Input((6, 3))
    y, h, c = k.layers.LSTM(4, return_state=True, return_sequences=True)(x)
    return k.Model(x, k.layers.LSTM(4)(y, initial_state=[h, c]))


def wrapped() -> Any:
    import tf_keras as k

    L = k.layers
    inner = k.Sequential([k.Input((8, 8, 1)), L.Conv2D(2, 3), L.Flatten()])
    return k.Sequential([k.Input((6, 8, 8, 1)), L.TimeDistributed(inner), L.SimpleRNN(3)])


def series() -> Any:
    import tf_keras as k

    L = k.layers
    first = [L.Conv1D(3, 3, padding="causal", dilation_rate=2), L.SeparableConv1D(4, 3), L.DepthwiseConv1D(2)]
    rest = [L.Conv1DTranspose(2, 3, strides=2), L.LayerNormalization(), L.PReLU(), L.GlobalMaxPooling1D()]
    return k.Sequential([k.Input((9, 4)), *first, *rest])


def volumes() -> Any:
    import tf_keras as k

    L = k.layers
    parts = [L.Conv3D(3, 2), L.Conv3DTranspose(2, 2), L.ZeroPadding3D(), L.GlobalAveragePooling3D()]
    return k.Sequential([k.Input((5, 5, 5, 2)), *parts])


def filters() -> Any:
    import tf_keras as k

    L = k.layers
    parts = [
        L.SeparableConv2D(4, 3, depth_multiplier=2),
        L.Conv2DTranspose(3, (3, 2), strides=2),
        L.GroupNormalization(3),
    ]
    parts += [L.DepthwiseConv2D(3, 2), L.LocallyConnected2D(2, 3), L.Permute((2, 1, 3)), L.Reshape((-1,)), L.Dense(2)]
    return k.Sequential([k.Input((8, 8, 3)), *parts])


def cells() -> Any:
    import tf_keras as k

    return k.Sequential([k.Input((5, 7)), k.layers.RNN([k.layers.LSTMCell(3), k.layers.GRUCell(2)])])


def attention() -> Any:
    import tf_keras as k

    q, v = k.Input((5, 8)), k.Input((6, 8))
    attended = k.layers.MultiHeadAttention(2, 3)(q, v)
    return k.Model([q, v], k.layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(attended))


def normalized() -> Any:
    import tf_keras as k

    layer = k.layers.Normalization()
    layer.adapt(np.random.default_rng(0).standard_normal((20, 3)).astype(np.float32))
    return k.Sequential([k.Input((3,)), layer, k.layers.Dense(2, activation=k.layers.LeakyReLU(0.1))])


def half() -> Any:
    import tf_keras as k

    D = k.layers.Dense
    return k.Sequential(
        [
            k.Input((4,)),
            D(3, dtype="mixed_bfloat16"),
            D(2, dtype="float64"),
            D(2, dtype="float16"),
            D(3, dtype="bfloat16"),
        ]
    )


def weather() -> Any:
    import tf_keras as k

    return k.Sequential([k.Input((4, 6, 6, 1)), k.layers.ConvLSTM2D(2, 3), k.layers.Flatten(), k.layers.Dense(2)])


KINDS: tuple[Callable[[], Any], ...] = (
    *(pictures, shared, named, nested, text, states, wrapped, series, volumes, filters, cells, attention, normalized),
    *(half, weather),
)
