"""Which layers quantization-aware training leaves float, why, and what can be done about it.

The Toolkit refuses some.  Others it accepts, and the converter then finds no integer form for them.
"""

from __future__ import annotations

from dataclasses import dataclass

import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quantize_aware_activation

__all__ = ["LeftFloat", "float_in_file", "left_float", "refused_at_sight"]

_Aware = quantize_aware_activation.QuantizeAwareActivation
_FUSED_ACTIVATIONS = _Aware._PRE_QUANT_ACTIVATIONS | _Aware._POST_QUANT_ACTIVATIONS
_ACTIVATION_LAYERS = {"relu", "relu6", "swish", "linear", "softmax", "sigmoid", "tanh"}


@dataclass(frozen=True)
class LeftFloat:
    """Why a layer is trained in float, and what can be done about it.

    float_in_file: whether it computes in float in the file, too; None if no file was tried.  With a range on both sides
    the converter makes integers of it, which training has not seen.
    """

    layer: str
    kind: str
    reason: str
    way_out: str
    float_in_file: bool | None = None

    def __str__(self) -> str:
        integers = "; in the file it computes in integers, which training has not seen"
        return f"{self.layer} ({self.kind}): {self.reason}{integers * (self.float_in_file is False)}. {self.way_out}"


#: What to do instead, by the refused layer's class; else `_ANY_WAY_OUT`.
_WAYS_OUT = {
    "Conv1D": "Pass configs={name: layer_config(['kernel'])}, or write it as Conv2D on a picture one row high",
    "Conv3D": "Pass configs={name: layer_config(['kernel'])}; check the file, few kernels take it",
    "BatchNormalization": "Put it right behind a convolution, so that it is folded into it, or leave it out",
    "PReLU": "Use ReLU or LeakyReLU",
    "Multiply": "Use Add or Concatenate, or leave it float",
    "Rescaling": "Scale the data before the model, as utils.data does",
    "Normalization": "Scale the data before the model, as utils.data does",
    "Embedding": "Leave it float; quantize it after training (converter.convert, mode 'dynamic')",
    "LayerNormalization": "Leave it float, or use BatchNormalization behind a convolution",
    "Activation": "Use relu, sigmoid, tanh or softmax, which the Toolkit knows",
}
_ACTIVATION_WAY_OUT = "Use relu here, or a ReLU or LeakyReLU layer behind it"
_ANY_WAY_OUT = (
    "Leave it float, give it a QuantizeConfig of its own (configs={name: …}), or write that part with "
    "layers that are supported"
)
#: What makes the converter find an integer form, by the class of a layer that the Toolkit accepts.
_FLOAT_WAYS_OUT = {
    "Conv2DTranspose": "Without an activation, inside it or behind it, it becomes an integer layer",
    "BatchNormalization": "Put it right behind a Conv2D or DepthwiseConv2D, or leave it out",
    "ReLU": "Use ReLU() or ReLU(6.0), or LeakyReLU for a slope",
}
_OWN_ACTIVATION = "Write the activation as a layer of its own behind it: Activation({0!r})"
_FLOAT_WAY_OUT = "Leave it float, or quantize the model after training instead (converter.convert, mode 'int8')"
_RECURRENT = "Leave it float and quantize it after training: the Toolkit has no ranges for recurrent cells"


def refused_at_sight(layer, registry) -> LeftFloat | None:
    """What the registry alone can tell; normalization and separable convolutions depend on the layers around them."""
    if type(layer).__name__ in ("BatchNormalization", "SeparableConv1D", "SeparableConv2D"):
        return None
    if not registry.supports(layer):
        return left_float(layer, "the Toolkit has no rule for this kind of layer")
    activation = _activation_name(layer)
    known = _ACTIVATION_LAYERS if isinstance(layer, tf_keras.layers.Activation) else _FUSED_ACTIVATIONS
    if activation is not None and activation not in known:
        return LeftFloat(
            layer.name,
            type(layer).__name__,
            f"the Toolkit has no rule for the activation {activation!r}",
            _ACTIVATION_WAY_OUT,
        )
    return None


def _activation_name(layer) -> str | None:
    """Name of the activation function that a layer applies, None if it has none."""
    activation = getattr(layer, "activation", None)
    return None if activation is None else getattr(activation, "__name__", type(activation).__name__)


def left_float(layer, reason: str) -> LeftFloat:
    kind = type(layer).__name__
    recurrent = isinstance(layer, tf_keras.layers.RNN)
    return LeftFloat(layer.name, kind, reason, _WAYS_OUT.get(kind, _RECURRENT if recurrent else _ANY_WAY_OUT))


def float_in_file(layer, operators: list[str], kept: bool = False) -> LeftFloat:
    """Of a layer that the Toolkit accepts and whose operators are float in the file; kept: trained with rounding."""
    kind, activation = type(layer).__name__, _activation_name(layer)
    own = layer.weights and activation not in (None, "linear")
    way_out = _FLOAT_WAYS_OUT.get(kind) or (_OWN_ACTIVATION.format(activation) if own else _FLOAT_WAY_OUT)
    reason = f"the Toolkit accepts it here, but the converter leaves it in float ({', '.join(operators)})"
    if kept:
        reason += "; it is trained with rounding all the same, as it was asked for"
        way_out = f"Quantize what comes before it, too, so that its input has a range. Or: {way_out}"
    return LeftFloat(layer.name, kind, reason, way_out)
