"""Small models, one for each kind of layer: what the table of layers by technique is made from.

Each builder returns a fresh model with fixed layer names, so that two runs of the table can be
compared word by word.  Channels are multiples of 4, because 2:4 sparsity pads anything else.
"""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf
import tf_keras

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)

Builder = Callable[[], tf_keras.Model]
_K = tf_keras.layers

_PICTURE = (8, 8, 8)
_SEQUENCE = (8, 16)
_VECTOR = (16,)


class Projection(tf_keras.layers.Layer):
    """A layer of one's own, as a reader would write it: multiply by a matrix `kernel`."""

    def __init__(self, units: int, **kwargs) -> None:
        super().__init__(**kwargs)
        self.units = units

    def build(self, shape) -> None:
        self.kernel = self.add_weight(name="kernel", shape=(shape[-1], self.units))
        super().build(shape)

    def call(self, x):
        return tf.matmul(x, self.kernel)

    def get_config(self) -> dict:
        return super().get_config() | {"units": self.units}


class Subclassed(tf_keras.Model):
    """A model written as a class, with its layers in `call`."""

    def __init__(self, **kwargs) -> None:
        super().__init__(**kwargs)
        self.conv = _K.Conv2D(8, 3, activation="relu", name="conv")
        self.flat = _K.Flatten(name="flat")
        self.dense = _K.Dense(4, name="dense")

    def call(self, x):
        return self.dense(self.flat(self.conv(x)))


def _chain(shape: tuple[int, ...], *layers: Callable[[], _K.Layer], dtype: str = "float32") -> Builder:
    """A builder of: input, then these layers in a row."""
    return lambda: tf_keras.Sequential([_K.InputLayer(shape, dtype=dtype, name="input"), *(make() for make in layers)])


def _layer(kind: type, *args, **kwargs) -> Callable[[], _K.Layer]:
    return lambda: kind(*args, name=kind.__name__.lower(), **kwargs)


def _branches(kind: type) -> Builder:
    """A builder of two convolutions of one input, joined by a layer of this kind."""

    def build() -> tf_keras.Model:
        x = tf_keras.Input(_PICTURE, name="input")
        sides = [_K.Conv2D(8, 1, name=f"conv_{side}")(x) for side in "ab"]
        return tf_keras.Model(x, kind(name=kind.__name__.lower())(sides))

    return build


def _attention() -> tf_keras.Model:
    x = tf_keras.Input(_SEQUENCE, name="input")
    return tf_keras.Model(x, _K.MultiHeadAttention(2, 8, name="attention")(x, x))


def _nested() -> tf_keras.Model:
    inner = tf_keras.Sequential(
        [_K.InputLayer(_PICTURE, name="inner_input"), _K.Conv2D(8, 3, activation="relu", name="conv")], name="inner"
    )
    return tf_keras.Sequential(
        [_K.InputLayer(_PICTURE, name="input"), inner, _K.Flatten(name="flat"), _K.Dense(4, name="dense")]
    )


def _subclassed() -> tf_keras.Model:
    model = Subclassed(name="subclassed")
    model(tf.zeros((1, *_PICTURE)))
    return model


def _keras_3():
    import keras

    return keras.Sequential([keras.layers.Input(_VECTOR), keras.layers.Dense(8, activation="relu", name="dense")])


_CONV = _layer(_K.Conv2D, 8, 3)
_DEPTHWISE = _layer(_K.DepthwiseConv2D, 3)
_DENSE = _layer(_K.Dense, 8)
_BN = _layer(_K.BatchNormalization)
_RELU = _layer(_K.ReLU)

#: Row name → builder.  An arrow joins layers that the Toolkit treats together.
LAYERS: dict[str, Builder] = {
    "Dense": _chain(_VECTOR, _layer(_K.Dense, 8, activation="relu")),
    "Conv1D": _chain(_SEQUENCE, _layer(_K.Conv1D, 8, 3, activation="relu")),
    "Conv2D": _chain(_PICTURE, _layer(_K.Conv2D, 8, 3, activation="relu")),
    "Conv3D": _chain((6, 6, 6, 4), _layer(_K.Conv3D, 4, 3, activation="relu")),
    "DepthwiseConv2D": _chain(_PICTURE, _DEPTHWISE),
    "SeparableConv1D": _chain(_SEQUENCE, _layer(_K.SeparableConv1D, 8, 3)),
    "SeparableConv2D": _chain(_PICTURE, _layer(_K.SeparableConv2D, 8, 3)),
    "Conv2DTranspose": _chain(_PICTURE, _layer(_K.Conv2DTranspose, 8, 3, strides=2)),
    "Conv2D → BatchNormalization": _chain(_PICTURE, _CONV, _BN),
    "Conv2D → BatchNormalization → ReLU": _chain(_PICTURE, _CONV, _BN, _RELU),
    "DepthwiseConv2D → BatchNormalization → ReLU": _chain(_PICTURE, _DEPTHWISE, _BN, _RELU),
    "Dense → BatchNormalization": _chain(_VECTOR, _DENSE, _BN),
    "BatchNormalization alone": _chain(_PICTURE, _BN),
    "LayerNormalization": _chain(_SEQUENCE, _layer(_K.LayerNormalization)),
    "Embedding": _chain((8,), _layer(_K.Embedding, 32, 16), dtype="int32"),
    "SimpleRNN": _chain(_SEQUENCE, _layer(_K.SimpleRNN, 8)),
    "LSTM": _chain(_SEQUENCE, _layer(_K.LSTM, 8)),
    "GRU": _chain(_SEQUENCE, _layer(_K.GRU, 8)),
    "TimeDistributed Dense": _chain(_SEQUENCE, lambda: _K.TimeDistributed(_K.Dense(8), name="timedistributed")),
    "MultiHeadAttention": _attention,
    "Add": _branches(_K.Add),
    "Multiply": _branches(_K.Multiply),
    "Concatenate": _branches(_K.Concatenate),
    "MaxPooling2D": _chain(_PICTURE, _layer(_K.MaxPooling2D)),
    "AveragePooling2D": _chain(_PICTURE, _layer(_K.AveragePooling2D)),
    "GlobalAveragePooling2D": _chain(_PICTURE, _layer(_K.GlobalAveragePooling2D)),
    "UpSampling2D": _chain(_PICTURE, _layer(_K.UpSampling2D)),
    "ZeroPadding2D": _chain(_PICTURE, _layer(_K.ZeroPadding2D)),
    "Dense → Dropout": _chain(_VECTOR, _DENSE, _layer(_K.Dropout, 0.5)),
    "Conv2D → LeakyReLU": _chain(_PICTURE, _CONV, _layer(_K.LeakyReLU)),
    "Conv2D → PReLU": _chain(_PICTURE, _CONV, _layer(_K.PReLU, shared_axes=[1, 2])),
    "Softmax": _chain(_VECTOR, _layer(_K.Softmax)),
    "Dense, softmax inside": _chain(_VECTOR, _layer(_K.Dense, 8, activation="softmax")),
    "Dense, sigmoid inside": _chain(_VECTOR, _layer(_K.Dense, 8, activation="sigmoid")),
    "Dense, swish inside": _chain(_VECTOR, _layer(_K.Dense, 8, activation="swish")),
    "Conv2D, swish inside": _chain(_PICTURE, _layer(_K.Conv2D, 8, 3, activation="swish")),
    "Dense, gelu inside": _chain(_VECTOR, _layer(_K.Dense, 8, activation="gelu")),
    "Rescaling": _chain(_PICTURE, _layer(_K.Rescaling, 1 / 255)),
    "Lambda": _chain(_VECTOR, lambda: _K.Lambda(lambda x: 2 * x, name="lambda")),
    "own layer": _chain(_VECTOR, lambda: Projection(8, name="projection")),
    "model inside a model": _nested,
    "subclassed model": _subclassed,
    "Keras 3 model": _keras_3,
}
