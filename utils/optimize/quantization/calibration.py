"""Calibration by hand: which range an activation gets, from samples, and files converted with ranges of one's choice.

    chosen = ranges(model, samples, "percentile")
    artifact = quantization.convert(with_ranges(model, chosen), "int8", calibration=samples)

The converter itself only knows minimum and maximum.  `with_ranges` puts fake quantization with the chosen range behind
each layer; the converter takes the range of such a node as it is, and drops the node.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras

from utils import checks
from utils.optimize.keras_graph import nodes, rebuild, walk
from utils.optimize.quantization import grid as qz

#: How a range is chosen, in one line each.
METHODS = {
    "minmax": "from the smallest to the largest value: nothing is clipped, one outlier stretches all",
    "percentile": "the given share of the values on each side, the rest is clipped",
    "mse": "the part of min to max with the least mean squared error, clipping and rounding together",
    "moving_average": "exponential moving average of each example's minimum and maximum",
}

_PASSES = (
    "Flatten",
    "Reshape",
    "Permute",
    "Dropout",
    "SpatialDropout1D",
    "SpatialDropout2D",
    "MaxPooling1D",
    "MaxPooling2D",
    "GlobalMaxPooling1D",
    "GlobalMaxPooling2D",
    "Cropping1D",
    "Cropping2D",
    "RepeatVector",
    "AveragePooling2D",
    "AveragePooling1D",
    "ZeroPadding1D",
    "ZeroPadding2D",
)
_WEIGHTED = ("Conv1D", "Conv2D", "DepthwiseConv2D", "Dense", "Conv2DTranspose", "SeparableConv2D")
_MANY = 20_000  #: values that the search for the least error looks at


def choose_range(
    x: np.ndarray, method: str = "minmax", *, bits: int = 8, percentile: float = 99.9, momentum: float = 0.9
) -> tuple[float, float]:
    """(low, high): the range that `method`, one of `METHODS`, gives the values x.

    x: (n, …), n examples.  bits: for "mse", of the grid that the range is for.
    percentile: for "percentile", in (50, 100]: this share of all values lies below high, and as large a one above low.
    momentum: for "moving_average", in [0, 1): the weight of what came before.
    Raises ValueError for an unknown method, for parameters out of range, for x that is empty or not finite.
    """
    checks.check_choice("method", method, METHODS)
    if not 50 < percentile <= 100:
        raise ValueError(f"percentile is {percentile!r}; pass more than 50 and at most 100, such as 99.9")
    if not 0 <= momentum < 1:
        raise ValueError(f"momentum is {momentum!r}; pass at least 0 and less than 1, such as 0.9")
    x = _real(x)
    if x.size == 0 or not np.all(np.isfinite(x)):
        raise ValueError(
            f"a range needs finite values; got {x.size}, of which {np.sum(~np.isfinite(x))} are NaN or infinite"
        )
    if method == "percentile":
        low, high = np.percentile(x, [100 - percentile, percentile])
    elif method == "mse":
        low, high = qz.best_clip(_some(x), bits).range if x.any() else (0.0, 0.0)
    elif method == "moving_average":
        low, high = _moving_average(x, momentum)
    else:
        low, high = x.min(), x.max()
    return float(low), float(high)


def activations(model: tf_keras.Model, samples: Any) -> dict[str, np.ndarray]:
    """{layer: its output, (n, …)} for every layer of a Sequential or functional model, inputs included.

    samples: inputs as in training, an array of (n, …) or a list of one for each input.  All outputs are kept, so some
    hundred samples.  A layer used several times has its calls one behind the other; of several outputs, the first.
    Raises as `checks.check_model` and `checks.fitting_inputs` do.
    """
    checks.check_model(model, graph=True)
    arrays = checks.fitting_inputs(model, samples, "samples")
    seen = {name: [array] for name, array in zip(model.input_names, arrays, strict=True)}

    def call(layer: tf_keras.layers.Layer, arguments: tuple, named: dict) -> Any:
        output = layer(*arguments, **_inference(layer, named))
        seen.setdefault(layer.name, []).append(np.asarray(tf.nest.flatten(output)[0]))
        return output

    walk(model, [tf.constant(array) for array in arrays], call)
    return {
        name: np.concatenate(parts)
        if len({p.shape[1:] for p in parts}) == 1
        else np.concatenate([p.reshape(len(p), -1) for p in parts], axis=1)
        for name, parts in seen.items()
    }


def points(model: tf_keras.Model) -> list[str]:
    """Names of the layers, inputs included, whose output the converter gives a range of its own.

    Not of those that it fuses with the next one (a convolution and its normalization, either and its ReLU), and not of
    those that only move or pick values, whose output keeps the range of their input.  Layers that are called several
    times or have several outputs have no one range, and are left out.
    """
    checks.check_model(model, graph=True)
    names = [name for name, tensor in zip(model.input_names, model.inputs, strict=True) if tensor.dtype.is_floating]
    for layer in model.layers:
        if type(layer).__name__ in ("InputLayer", *_PASSES) or _is_linear(layer):
            continue
        outputs = _outputs(model, layer)
        if len(outputs) != 1 or not outputs[0].dtype.is_floating:
            continue
        following = _consumers(model, layer)
        if not (len(following) == 1 and _fuses(layer, following[0])):
            names.append(layer.name)
    return names


def ranges(
    model: tf_keras.Model, samples: Any, method: str = "minmax", **options: Any
) -> dict[str, tuple[float, float]]:
    """{layer: (low, high)} at each of the `points`, chosen by `method` from what `samples` cause there.

    options: of `choose_range`.  Errors as in `activations` and `choose_range`.
    """
    seen = activations(model, samples)
    return {name: choose_range(seen[name], method, **options) for name in points(model)}


class FixedRange(tf_keras.layers.Layer):
    """Rounds its input to 256 levels between low and high, widened to hold 0 and moved until 0 is a level."""

    def __init__(self, low: float, high: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.low, self.high = min(float(low), 0.0), max(float(high), 0.0)

    def call(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.quantization.fake_quant_with_min_max_vars(inputs, self.low, self.high, num_bits=8)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "low": self.low, "high": self.high}


def with_ranges(model: tf_keras.Model, chosen: Mapping[str, tuple[float, float]]) -> tf_keras.Model:
    """A copy of `model` whose activations are rounded to 8 bits in the ranges `chosen`: what int8 activations do.

    chosen: {layer or input: (low, high)}; layers that are not named stay as they are.
    Its weights are not rounded.  Converted with mode "int8", it gives a file with exactly these ranges (widened to hold
    0) where they are given, and with minimum and maximum of the calibration data elsewhere.
    Raises ValueError for a name that is no layer, or one whose outputs are several or whole numbers, and for a range
    that is empty or not finite.
    """
    checks.check_model(model, graph=True)
    for name, limits in chosen.items():
        _check_chosen(model, name, limits)
    taken = {layer.name for layer in model.layers}

    def fix(name: str, value: Any) -> Any:
        if name not in chosen:
            return value
        own = next(new for new in _numbered(f"{name}_range") if new not in taken)  # a layer may be called twice
        taken.add(own)
        return FixedRange(*chosen[name], name=own, dtype="float32")(value)

    names = iter(model.input_names)

    def change(layer: tf_keras.layers.Layer | None, arguments: tuple, apply: Any) -> Any:
        if layer is None:
            return fix(next(names), arguments[0])
        return fix(layer.name, apply(layer, *arguments))

    return rebuild(model, change)


# ---------------------------------------------------------------- details


def _real(x: Any) -> np.ndarray:
    """`x` as real numbers, (n, …), in a type that averages do not overflow."""
    x = np.atleast_1d(checks.as_array(x, what="x"))
    if x.dtype.kind not in "fiub":
        raise TypeError(f"x is of type {x.dtype}; a range needs real numbers")
    return x.astype(np.float64) if x.dtype.kind in "iub" or x.dtype == np.float16 else x


def _check_chosen(model: tf_keras.Model, name: str, limits: Any) -> None:
    layers = {layer.name: layer for layer in model.layers}
    if name not in model.input_names and name not in layers:
        raise ValueError(f"the model {model.name!r} has no layer {name!r}; there are {points(model)}")
    outputs = _outputs(model, layers[name]) if name in layers else []
    calls = sum(node.layer is layers.get(name) for node in nodes(model))
    if len(outputs) > calls or any(not output.dtype.is_floating for output in outputs):
        raise ValueError(f"the outputs of {name!r} are several or no real numbers; a range is of one real output")
    try:
        low, high = map(float, limits)
    except (TypeError, ValueError):
        low = high = np.nan
    with np.errstate(over="ignore", invalid="ignore"):
        width = np.float32(high) - np.float32(low)
    if not np.isfinite(width) or low > high or low == high == 0:
        raise ValueError(f"the range of {name!r} is {limits!r}; pass two finite numbers, the smaller first, not both 0")


def _numbered(name: str) -> Iterator[str]:
    return itertools.chain([name], (f"{name}_{number}" for number in itertools.count(1)))


def _outputs(model: tf_keras.Model, layer: tf_keras.layers.Layer) -> list[Any]:
    """What this layer gives in this model, of all its calls."""
    return [output for node in nodes(model) if node.layer is layer for output in tf.nest.flatten(node.outputs)]


def _some(x: np.ndarray) -> np.ndarray:
    """Evenly picked values of x, its smallest and largest included: they decide where the search begins."""
    flat = x.ravel()
    return np.concatenate([flat[:: max(flat.size // _MANY, 1)], [flat.min(), flat.max()]])


def _moving_average(x: np.ndarray, momentum: float) -> tuple[float, float]:
    each = x.reshape(len(x), -1)
    low, high = each[0].min(), each[0].max()
    for example in each[1:]:
        low = momentum * low + (1 - momentum) * example.min()
        high = momentum * high + (1 - momentum) * example.max()
    return low, high


def _inference(layer: tf_keras.layers.Layer, named: dict) -> dict:
    """Keyword arguments of a call, with training off where the layer knows the word."""
    return {**named, "training": False} if layer._expects_training_arg else named


def _consumers(model: tf_keras.Model, layer: tf_keras.layers.Layer) -> list[tf_keras.layers.Layer]:
    """The layers that take this one's output; the model's outputs count as None."""
    calls = nodes(model)
    mine = {id(t) for node in calls if node.layer is layer for t in tf.nest.flatten(node.outputs)}
    found: list = [node.layer for node in calls for t in tf.nest.flatten(node.keras_inputs) if id(t) in mine]
    return found + [None for t in model.outputs if id(t) in mine]


def _is_linear(layer: tf_keras.layers.Layer) -> bool:
    return type(layer).__name__ == "Activation" and layer.get_config()["activation"] == "linear"


def _fuses(layer: tf_keras.layers.Layer, following: tf_keras.layers.Layer | None) -> bool:
    """Whether the converter makes one operator of the two."""
    kind, then = type(layer).__name__, type(following).__name__
    plain = kind in _WEIGHTED and layer.get_config().get("activation") == "linear"
    if then == "BatchNormalization":
        return plain
    return _is_relu(following) and (plain or kind in ("BatchNormalization", "Add", "Multiply", "Subtract"))


def _is_relu(layer: tf_keras.layers.Layer | None) -> bool:
    """ReLU or ReLU6: what the converter can fuse."""
    if layer is None:
        return False
    config = layer.get_config()
    if type(layer).__name__ == "ReLU":
        return not config["negative_slope"] and not config["threshold"] and config["max_value"] in (None, 6.0)
    return type(layer).__name__ == "Activation" and config["activation"] in ("relu", "relu6")
