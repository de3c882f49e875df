"""What a weight is: for each array of a tf_keras model its role, and the axes of its output channels.

    for weight in keras_weights.weights(model):
        print(weight.name, weight.role, weight.channels)

Told by the class of the layer and the attribute that holds the array, not by its rank or its name: a GRU's bias has two
axes, PReLU's slopes are as large as a picture, and a transposed convolution's output channels are not the last axis.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import tensorflow as tf
import tf_keras
from tf_keras.src.layers.rnn.base_conv_lstm import ConvLSTMCell  # not public

import utils  # noqa: F401  (settles Keras 2 before TensorFlow is imported)
from utils import checks

#: The roles, in one line each.
ROLES = {
    "kernel": "is multiplied with the inputs and summed: convolutions, dense and recurrent layers, attention",
    "depthwise kernel": "a kernel for each input channel, which are not summed",
    "recurrent kernel": "is multiplied with a recurrent layer's last output",
    "embedding": "rows that are looked up",
    "bias": "is added",
    "normalization": "factor, shift, mean or variance of a normalization",
    "slope": "of a PReLU",
    "scale": "a learned factor of attention, or of random Fourier features",
    "unknown": "of a layer that is not in the table (one's own, a Toolkit wrapper): nothing is claimed about it",
}

#: The roles that pruning, clustering and weight quantization are about.
KERNELS = ("kernel", "depthwise kernel", "recurrent kernel", "embedding")


@dataclass(frozen=True)
class Weight:
    """One array of a model.

    layer: the innermost layer that owns it, a recurrent layer's cell, a wrapper's inner layer.
    attribute: under which it hangs there ("kernel"), "" if unknown.  role: a key of `ROLES`.
    channels: axes of the array that are axes of the layer's output, counted from 0; one for most, two for a depthwise
        kernel (input channel, multiplier) and for attention (head, key), none for a locally connected layer whose
        kernel is stored sparse (implementation=3); None where the role is no kernel.
    """

    variable: tf.Variable
    layer: tf_keras.layers.Layer
    attribute: str
    role: str
    channels: tuple[int, ...] | None

    @property
    def name(self) -> str:
        """Its name in the model, without the number of the output: "block/conv/kernel"."""
        return self.variable.name.split(":")[0]

    @property
    def is_kernel(self) -> bool:
        return self.role in KERNELS


def weights(model: tf_keras.layers.Layer) -> list[Weight]:
    """Every array of a built model or layer once, shared ones too; nested models, wrappers and cells are opened.

    An array that hangs in two layers counts for the one where it is known.
    """
    found: dict[int, Weight] = {}
    for layer in checks.all_layers(model):
        for variable in checks.own_weights(layer):
            weight = _weight(layer, variable)
            known = found.get(id(variable))
            if known is None or known.role == "unknown":
                found[id(variable)] = weight
    return list(found.values())


def kernels(model: tf_keras.layers.Layer) -> list[Weight]:
    """Those of the `weights` that pruning, clustering and weight quantization are about."""
    return [weight for weight in weights(model) if weight.is_kernel]


# ---------------------------------------------------------------- the table

#: Gives the axes of the output channels, from the layer; negative ones count from the end.
_Channels = Callable[[tf_keras.layers.Layer], tuple[int, ...]]


def _last(layer: tf_keras.layers.Layer) -> tuple[int, ...]:
    return (-1,)


def _last_but_one(layer: tf_keras.layers.Layer) -> tuple[int, ...]:
    return (-2,)


def _last_two(layer: tf_keras.layers.Layer) -> tuple[int, ...]:
    return (-2, -1)


def _einsum(layer: tf_keras.layers.Layer) -> tuple[int, ...]:
    """Of "abc,cde->abde" the kernel's d and e: its letters that the output has."""
    inputs, output = layer.equation.replace(" ", "").split("->")
    kernel = inputs.split(",")[1]
    return tuple(axis for axis, letter in enumerate(kernel) if letter in output)


def _local(layer: tf_keras.layers.Layer) -> tuple[int, ...]:
    """A locally connected layer's, by its implementation: 2 stores a whole matrix, 3 only its values."""
    if layer.implementation == 3:
        return ()
    spatial = len(layer.kernel_size)
    return (-1 - spatial,) if (layer.implementation, layer.data_format) == (2, "channels_first") else (-1,)


_K = tf_keras.layers
_BIAS = {"bias": ("bias", None)}
_CONVOLUTION = {"kernel": ("kernel", _last), **_BIAS}
_TRANSPOSED = {"kernel": ("kernel", _last_but_one), **_BIAS}  # (…, output channels, input channels)
_DEPTHWISE = {"depthwise_kernel": ("depthwise kernel", _last_two), **_BIAS}
_SEPARABLE = {**_DEPTHWISE, "pointwise_kernel": ("kernel", _last)}
_LOCAL = {"kernel": ("kernel", _local), **_BIAS}
_RECURRENT = {**_CONVOLUTION, "recurrent_kernel": ("recurrent kernel", _last)}  # gates and units in the last axis
_AFFINE = {"gamma": ("normalization", None), "beta": ("normalization", None)}
_MOVING = dict.fromkeys(("moving_mean", "moving_variance", "moving_stddev"), ("normalization", None))
_ADAPTED = dict.fromkeys(("adapt_mean", "adapt_variance", "count"), ("normalization", None))

_TABLE: dict[type, dict[str, tuple[str, _Channels | None]]] = {
    **dict.fromkeys((_K.Conv1D, _K.Conv2D, _K.Conv3D, _K.Dense), _CONVOLUTION),
    **dict.fromkeys((_K.Conv1DTranspose, _K.Conv2DTranspose, _K.Conv3DTranspose), _TRANSPOSED),
    **dict.fromkeys((_K.DepthwiseConv1D, _K.DepthwiseConv2D), _DEPTHWISE),
    **dict.fromkeys((_K.SeparableConv1D, _K.SeparableConv2D), _SEPARABLE),
    **dict.fromkeys((_K.LocallyConnected1D, _K.LocallyConnected2D), _LOCAL),
    **dict.fromkeys((_K.LSTMCell, _K.GRUCell, _K.SimpleRNNCell, ConvLSTMCell), _RECURRENT),
    **dict.fromkeys((_K.LayerNormalization, _K.GroupNormalization), _AFFINE),
    _K.EinsumDense: {"kernel": ("kernel", _einsum), **_BIAS},
    _K.Embedding: {"embeddings": ("embedding", _last)},
    _K.BatchNormalization: {**_AFFINE, **_MOVING},
    _K.Normalization: _ADAPTED,
    _K.PReLU: {"alpha": ("slope", None)},
    _K.Attention: {"scale": ("scale", None), "concat_score_weight": ("scale", None)},
    _K.AdditiveAttention: {"scale": ("scale", None)},
    tf_keras.layers.experimental.RandomFourierFeatures: {
        "unscaled_kernel": ("kernel", _last),
        "kernel_scale": ("scale", None),
        **_BIAS,
    },
}


def _weight(layer: tf_keras.layers.Layer, variable: tf.Variable) -> Weight:
    entries = next((_TABLE[kind] for kind in type(layer).__mro__ if kind in _TABLE), {})
    for attribute, (role, channels) in entries.items():
        if getattr(layer, attribute, None) is variable:
            rank = len(variable.shape)
            axes = None if channels is None else tuple(axis % rank for axis in channels(layer))
            return Weight(variable, layer, attribute, role, axes)
    attribute = next((name for name, value in vars(layer).items() if value is variable), "")
    return Weight(variable, layer, attribute, "unknown", None)
