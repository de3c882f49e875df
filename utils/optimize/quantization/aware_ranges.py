"""The quantizers inside a model made by `quantize_aware`: their bits and ranges, and ranges measured on data.

Left alone, the Toolkit starts three kinds of ranges, none of them near the truth:

    inputs         [0, 0]: everything is rounded to 0; each training step widens it to what it has seen
    weights        ±6: most become a few steps or 0; the first training step takes the range of the values
    activations    ±6, moved by a thousandth of the difference at each training step

`calibrate` sets them from data at once, as post-training quantization does, all of them or one kind at a time.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Collection, Iterator, Sequence
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops, quantize_layer

from utils import checks
from utils.optimize.quantization import grid

__all__ = [
    "RANGES", "activation_quantizers", "activation_ranges", "calibrate", "check_clip", "input_ranges", "integer_kernel",
    "is_quantized", "precision",
]  # fmt: skip

#: The kinds of ranges.
RANGES = ("inputs", "weights", "activations")

_keras = tfmot.quantization.keras


def calibrate(
    model: tf_keras.Model,
    x: np.ndarray | Sequence[np.ndarray],
    *,
    clip: str = "minmax",
    only: str | Collection[str] = RANGES,
) -> None:
    """Set the ranges of a model made by `quantize_aware` from data, in place, as post-training quantization does.

    Each layer sees its input already quantized, from the first layer on.  Weights get the range of their values.

    model: made by `quantize_aware`.
    x: some 100 to 500 inputs, prepared as in training; one array, a list of one for each input, or {input: array}.
    clip: "minmax" covers all activations; "mse" takes the part of that range with the least mean squared error,
        which is better with few bits and no worse with many.
    only: which kinds of `RANGES` to set; the others stay as they are, at their start in a new model.  So one cause
        at a time can be changed: only=("inputs", "weights") leaves the activations at ±6.

    Raises ValueError for a model without fake quantization, an unknown kind, and for x that is empty, not finite, of
    another shape, or so large that a range is wider than float32's largest number; the ranges stay as they were then.
    """
    check_clip(clip)
    kinds = {only} if isinstance(only, str) else set(only)
    if not kinds or kinds - set(RANGES):
        raise ValueError(f"only is {only!r}; pass one or several of {', '.join(map(repr, RANGES))}")
    if not is_quantized(model):
        raise ValueError(
            f"the model {getattr(model, 'name', model)!r} has no fake quantization; pass it through quantize_aware"
        )
    arrays = [tf.constant(array) for array in checks.fitting_inputs(model, x, "the array of inputs")]
    before = model.get_weights()
    with _observing(clip, kinds, _kinds(model)):
        model(arrays if len(arrays) > 1 else arrays[0], training=False)
    wide = {name: ends for name, ends in activation_ranges(model).items() if not _has_width(*ends)}
    if wide:
        model.set_weights(before)
        largest = max(float(np.abs(array).max()) for array in arrays)
        name, ends = next(iter(wide.items()))
        raise ValueError(
            f"x reaches {largest:.3g}, which gives {name!r} the range {ends}, wider than float32 can hold "
            f"({np.finfo(np.float32).max:.3g}); scale x as in training"
        )


def _has_width(low: float, high: float) -> bool:
    return float(high) - float(low) <= float(np.finfo(np.float32).max)  # not of NaN


def check_clip(clip: object) -> None:
    """Raise ValueError unless it is a way in which `calibrate` measures ranges."""
    if clip not in ("minmax", "mse"):
        raise ValueError(f"clip is {clip!r}; pass 'minmax' or 'mse'")


def precision(model: tf_keras.Model) -> list[dict[str, str]]:
    """One row for each layer of a model made by `quantize_aware`: what is quantized there, and how finely.

    Columns: layer, kind, weights ("4 bits per channel", "float", "" without weights), output ("8 bits", "float").
    A layer whose output says "float" is usually fused with the next one, which has the range of both.
    A depthwise kernel has one scale for all channels (the Toolkit takes the multiplier for its channels); the file
    keeps those integers and writes a scale for each channel, equal but for the normalization that is folded in.
    `aware_quantizers.depthwise_per_channel` gives it one a channel.
    """
    rows = []
    for layer in model.layers:
        if isinstance(layer, tf_keras.layers.InputLayer):
            continue
        inner = layer.layer if isinstance(layer, _keras.QuantizeWrapper) else layer
        rows.append(
            {
                "layer": inner.name,
                "kind": type(inner).__name__,
                "weights": _weight_precision(layer, inner),
                "output": _output_precision(layer),
            }
        )
    return rows


def activation_ranges(model: tf_keras.Model) -> dict[str, tuple[float, float]]:
    """{layer: (low, high)} of the activations that leave each layer, as the Toolkit keeps them now.

    Layers by their names in the plain model; the inputs' range is under the name of the Toolkit's own layer.
    """
    found = {}
    for layer in model.layers:
        name = layer.layer.name if isinstance(layer, _keras.QuantizeWrapper) else layer.name
        ends = {
            end: [w for w in layer.weights if re.search(rf"(output|activation|quantize_layer\w*)_{end}:0$", w.name)]
            for end in ("min", "max")
        }
        if ends["min"]:
            found[name] = tuple(float(ends[end][-1]) for end in ("min", "max"))
    return found


def input_ranges(model: tf_keras.Model) -> list[tuple[float, float]]:
    """(low, high) of each quantized input; [0, 0] until calibration or training sets it."""
    layers = [each for each in model.layers if isinstance(each, quantize_layer.QuantizeLayer) and each.quantizer]
    return [tuple(float(layer.quantizer_vars[end]) for end in ("min_var", "max_var")) for layer in layers]


def integer_kernel(model: tf_keras.Model, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """(integers, scales) of a layer's first quantized weights, on the grid that the last training step used.

    layer: its name in the plain model.  Returns int64 in the weights' shape, and one scale or one for each channel.
    Raises ValueError if there is no such layer or its weights are not quantized.
    """
    wrappers = {w.layer.name: w for w in model.layers if isinstance(w, _keras.QuantizeWrapper) and w._weight_vars}
    if layer not in wrappers:
        raise ValueError(f"no layer {layer!r} with quantized weights; there are {sorted(wrappers)}")
    weight, quantizer, limits = wrappers[layer]._weight_vars[0]
    if not hasattr(quantizer, "num_bits") or "max_var" not in limits:
        raise ValueError(f"layer {layer!r} has a {type(quantizer).__name__}, whose grid is its own")
    top = 2 ** (quantizer.num_bits - 1) - 1
    scales = np.asarray(limits["max_var"]) / top
    per_value = np.where(scales > 0, scales, 1)
    if per_value.shape not in ((), (1,), weight.shape[-1:]):  # a depthwise kernel: channels are not its last axis
        per_value = per_value[:, None]
    integers = np.floor(np.asarray(weight) / per_value + 0.5)
    return np.clip(integers, -top, top).astype(np.int64), scales


def is_quantized(model: object) -> bool:
    wrappers = (_keras.QuantizeWrapper, quantize_layer.QuantizeLayer)
    return isinstance(model, tf_keras.Model) and any(isinstance(layer, wrappers) for layer in model.layers)


def activation_quantizers(layer) -> list:
    """The quantizers of a layer's activations; of a model's, those of all its layers."""
    if isinstance(layer, tf_keras.Model):
        return [quantizer for inner in layer.layers for quantizer in activation_quantizers(inner)]
    if isinstance(layer, quantize_layer.QuantizeLayer):
        return [layer.quantizer] if layer.quantizer else []
    if not isinstance(layer, _keras.QuantizeWrapper):
        return []
    active = [a.quantizer for a in layer._quantize_activations if a._should_pre_quantize() or a._should_post_quantize()]
    return [*active, *(layer._output_quantizers or [])]


def _kinds(model) -> dict[int, str]:
    """{id of the variable of a range's lower end: "inputs" or "weights"}; all others are activations'."""
    found = {}
    for layer in model.layers:
        if isinstance(layer, quantize_layer.QuantizeLayer) and layer.quantizer:
            found[id(layer.quantizer_vars["min_var"])] = "inputs"
        elif isinstance(layer, _keras.QuantizeWrapper):
            limits = (limits for _, _, limits in layer._weight_vars)
            found |= {id(each["min_var"]): "weights" for each in limits if "min_var" in each}
    return found


@contextlib.contextmanager
def _observing(clip: str, wanted: set[str], kinds: dict[int, str]) -> Iterator[None]:
    """While this is open, each quantizer of a wanted kind sets its range from what passes through it, then uses it.

    The Toolkit's quantizers call these three functions through their module, so replacing them there reaches all.
    """
    last_value, seen = quant_ops.LastValueQuantize, set()

    def weights(inputs, min_var, max_var, *args, **kwargs):
        measured = kinds.get(id(min_var), "activations") in wanted
        return last_value(inputs, min_var, max_var, *args, **kwargs | {"is_training": measured})

    def activations(inputs, min_var, max_var, *, num_bits=8, narrow_range=False, symmetric=False, **_):
        if kinds.get(id(min_var), "activations") in wanted:
            low, high = _extent(np.asarray(inputs), num_bits, clip)
            if symmetric:
                low, high = -max(-low, high), max(-low, high)
            if id(min_var) in seen:  # a shared layer is called again: its range covers all its calls
                low, high = min(low, float(min_var)), max(high, float(max_var))
            seen.add(id(min_var))
            min_var.assign(low)
            max_var.assign(high)
        return quant_ops._FakeQuantWithMinMaxVars(inputs, min_var, max_var, False, num_bits, narrow_range)

    with (
        mock.patch.object(quant_ops, "LastValueQuantize", weights),
        mock.patch.object(quant_ops, "MovingAvgQuantize", activations),
        mock.patch.object(quant_ops, "AllValuesQuantize", activations),
    ):
        yield


def _extent(values: np.ndarray, bits: int, clip: str) -> tuple[float, float]:
    """The range for these activations; 0 lies in it, and it is never empty."""
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    if low == high:
        return 0.0, 1.0
    if clip == "minmax" or not _has_width(low, high):
        return low, high
    few = values.reshape(-1)[:: max(1, values.size // 20_000)]  # the error of 20,000 values says enough
    low, high = grid.best_clip(few, bits, candidates=40).range
    return float(low), float(high)


def _weight_precision(layer, inner) -> str:
    quantizers = [q for _, q, _ in layer._weight_vars] if isinstance(layer, _keras.QuantizeWrapper) else []
    if not quantizers:
        return "float" if inner.weights else ""
    bits, each = getattr(quantizers[0], "num_bits", None), getattr(quantizers[0], "per_axis", False)
    if not bits:
        return type(quantizers[0]).__name__
    if isinstance(inner, tf_keras.layers.DepthwiseConv2D):  # the Toolkit's channels are its last axis, the multiplier
        limits = layer._weight_vars[0][2]
        each = each and np.size(limits.get("max_var", 0)) > 1
    return f"{bits} bits per {'channel' if each else 'tensor'}"


def _output_precision(layer) -> str:
    found = activation_quantizers(layer)
    if not found:
        return "float"
    return f"{found[0].num_bits} bits" if hasattr(found[0], "num_bits") else type(found[0]).__name__
