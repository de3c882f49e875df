"""Quantizers beyond the Toolkit's: ranges that are learnt, and one scale for each channel of a depthwise kernel.

configs = {"dense_1": LearnedOutput(bits=3, start=1.0, gradient="lsq")}
aware.quantize_aware(model, 8, configs=configs)                            # a simulation: no kernel has its bits
aware.quantize_aware(model, 8, configs=depthwise_per_channel(model))       # converts
"""

from __future__ import annotations

import numbers

import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops

from utils import checks
from utils.optimize.quantization.fake import check_bits

__all__ = [
    "DepthwiseConfig", "FloatConfig", "LearnedOutput", "LearnedRange", "PerChannelDepthwise", "depthwise_per_channel",
    "learned_range",
]  # fmt: skip

_keras = tfmot.quantization.keras

#: How a range is learnt.
GRADIENTS = ("pact", "lsq")


def learned_range(x, high, bits: int, gradient: str = "lsq") -> tf.Tensor:
    """Round x to 2**bits levels from 0 to `high` and stay in float; `high` gets a gradient and can be learnt.

    For x the gradient is 1 from 0 to `high` and 0 outside.  For `high`, with n = 2**bits - 1 and v = x / high · n:

        x above:   1                            (the output is `high`)
        x inside:  0 for "pact" (Choi et al. 2018, arXiv 1805.06085, equation 3)
                   (round(v) - v) / n for "lsq" (Esser et al. 2020, arXiv 1902.08153, equation 3, where the step
                   high / n is learnt: its gradient is n times this one)
        x below:   0

    x: float32, any shape.  high: a number above 0, or a scalar variable.
    """
    check_bits(bits, top=16)
    if gradient not in GRADIENTS:
        raise ValueError(f"gradient is {gradient!r}; pass one of {', '.join(map(repr, GRADIENTS))}")
    x, high = tf.convert_to_tensor(x, tf.float32), tf.convert_to_tensor(high, tf.float32)
    if tf.executing_eagerly() and not high > 0:
        raise ValueError(f"high is {float(high):g}; pass the upper end of the range, above 0")
    top = float(2**bits - 1)
    step = high / top
    clipped = tf.minimum(tf.maximum(x, 0.0), high)
    position = clipped / step  # 0 to top, not yet rounded
    level = position + tf.stop_gradient(tf.floor(position + 0.5) - position)  # straight through
    if gradient == "lsq":
        return level * step
    return clipped + tf.stop_gradient(level * step - clipped)  # straight through both


class LearnedRange(_keras.quantizers.Quantizer):
    """Rounds what is 0 or larger (a ReLU's output) to a range whose upper end is trained with the weights.

    bits: 2 to 8.  start: the upper end before training.  gradient: "pact" or "lsq", see `learned_range`; "fixed" keeps
    the end where it starts.
    """

    def __init__(self, bits: int, start: float, gradient: str = "lsq") -> None:
        if isinstance(start, bool) or not isinstance(start, numbers.Real) or not 0 < start < float("inf"):
            raise ValueError(f"start is {start!r}; pass the upper end of the range before training, above 0")
        if gradient not in (*GRADIENTS, "fixed"):
            raise ValueError(f"gradient is {gradient!r}; pass 'pact', 'lsq' or 'fixed'")
        self.num_bits, self.start, self.gradient = check_bits(bits, top=8), float(start), gradient

    def build(self, tensor_shape, name, layer):
        start = tf_keras.initializers.Constant(self.start)
        return {"high": layer.add_weight(f"{name}_high", initializer=start, trainable=self.gradient != "fixed")}

    def __call__(self, inputs, training, weights, **kwargs):
        rule = "pact" if self.gradient == "fixed" else self.gradient
        return learned_range(inputs, weights["high"], self.num_bits, rule)

    def get_config(self):
        return {"bits": self.num_bits, "start": self.start, "gradient": self.gradient}


class PerChannelDepthwise(_keras.quantizers.Quantizer):
    """One symmetric scale for each channel of a depthwise kernel, (height, width, channels, multiplier).

    The Toolkit's own has one for each entry of the last axis, the multiplier: for nearly all networks one in all.
    """

    per_axis = True

    def __init__(self, bits: int = 8) -> None:
        self.num_bits = check_bits(bits, top=8)

    def build(self, tensor_shape, name, layer):
        channels = int(tensor_shape[2])
        if int(tensor_shape[3]) != 1:
            raise ValueError(f"{layer.name!r} has a multiplier of {int(tensor_shape[3])}; only 1 can be quantized so")
        ends = {"min": -6.0, "max": 6.0}  # as the Toolkit's; the first training step replaces them
        return {
            f"{end}_var": layer.add_weight(
                f"{name}_{end}", (channels,), initializer=tf_keras.initializers.Constant(value), trainable=False
            )
            for end, value in ends.items()
        }

    def __call__(self, inputs, training, weights, **kwargs):
        channels_last = tf.transpose(inputs, (0, 1, 3, 2))  # where the operator wants them
        rounded = quant_ops.LastValueQuantize(
            channels_last,
            weights["min_var"],
            weights["max_var"],
            is_training=training,
            num_bits=self.num_bits,
            per_channel=True,
            symmetric=True,
            narrow_range=True,
        )
        return tf.transpose(rounded, (0, 1, 3, 2))

    def get_config(self):
        return {"bits": self.num_bits}


class _Config(_keras.QuantizeConfig):
    """Quantizes nothing."""

    def get_weights_and_quantizers(self, layer):
        return []

    def get_activations_and_quantizers(self, layer):
        return []

    def set_quantize_weights(self, layer, quantize_weights):
        pass

    def set_quantize_activations(self, layer, quantize_activations):
        pass

    def get_output_quantizers(self, layer):
        return []

    def get_config(self):
        return {}


class FloatConfig(_Config):
    """Leaves its layer float, and keeps the Toolkit from refusing it: batch normalization behind a layer with a
    configuration of its own."""


class LearnedOutput(_Config):
    """Quantizes what a layer returns by a `LearnedRange` of these arguments; its weights stay float."""

    def __init__(self, bits: int, start: float, gradient: str = "lsq") -> None:
        self.quantizer = LearnedRange(bits, start, gradient)

    def get_output_quantizers(self, layer):
        return [self.quantizer]

    def get_config(self):
        return self.quantizer.get_config()


class DepthwiseConfig(_Config):
    """Quantizes a depthwise kernel by `PerChannelDepthwise`, and leaves the output to the layers behind it."""

    def __init__(self, bits: int = 8) -> None:
        self.quantizer = PerChannelDepthwise(bits)

    def get_weights_and_quantizers(self, layer):
        return [(layer.depthwise_kernel, self.quantizer)]

    def set_quantize_weights(self, layer, quantize_weights):
        layer.depthwise_kernel = quantize_weights[0]

    def get_config(self):
        return {"bits": self.quantizer.num_bits}


#: {name: class} of the classes here, which `aware.load` knows.
CLASSES = {
    cls.__name__: cls for cls in (DepthwiseConfig, FloatConfig, LearnedOutput, LearnedRange, PerChannelDepthwise)
}


def depthwise_per_channel(model: tf_keras.Model, bits: int = 8) -> dict[str, object]:
    """{layer: configuration} for `aware.quantize_aware`: each depthwise convolution gets one scale a channel.

    The batch normalization behind it gets one too: the Toolkit knows it only behind layers without a configuration of
    their own.  The activation behind that is quantized as usual.
    Raises ValueError if there is no depthwise convolution.
    """
    checks.check_model(model, graph=True)
    configs: dict[str, object] = {}
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.DepthwiseConv2D) and layer.depth_multiplier == 1:
            configs[layer.name] = DepthwiseConfig(bits)
            behind = [node.layer for node in layer._outbound_nodes]
            normalized = [each for each in behind if isinstance(each, tf_keras.layers.BatchNormalization)]
            configs |= {each.name: FloatConfig() for each in normalized}
    if not configs:
        raise ValueError(f"the model {model.name!r} has no depthwise convolution with a multiplier of 1")
    return configs
