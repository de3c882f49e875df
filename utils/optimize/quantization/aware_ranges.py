"""The quantizers inside a model made by `quantize_aware`: their bits and ranges, and ranges measured on data.

Left alone, the Toolkit starts each activation's range at ±6 and moves it by a thousandth of the difference at each
step.  `calibrate` sets all of them from data at once, as post-training quantization does.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from unittest import mock

import numpy as np
import tensorflow as tf
import tensorflow_model_optimization as tfmot
import tf_keras
from tensorflow_model_optimization.python.core.quantization.keras import quant_ops, quantize_layer

from utils.optimize.quantization import grid

__all__ = ["activation_quantizers", "calibrate", "integer_kernel", "is_quantized", "precision", "ranges"]

_keras = tfmot.quantization.keras


def calibrate(model: tf_keras.Model, x: np.ndarray | Sequence[np.ndarray], *, clip: str = "minmax") -> None:
    """Set every range of a model made by `quantize_aware` from data, in place, as post-training quantization does.

    Each layer sees its input already quantized, from the first layer on.  Weights get the range of their values.

    Args:
        model: made by `quantize_aware`.
        x: some 100 to 500 inputs, prepared as in training; one array, or a list of one for each input.
        clip: "minmax" covers all activations; "mse" takes the part of that range with the least mean squared error,
            which is better with few bits and no worse with many.

    Raises ValueError for a model without fake quantization, and for x that is empty, not finite or of another shape.
    """
    if clip not in ("minmax", "mse"):
        raise ValueError(f"clip is {clip!r}; pass 'minmax' or 'mse'")
    if not is_quantized(model):
        raise ValueError(
            f"the model {getattr(model, 'name', model)!r} has no fake quantization; pass it through quantize_aware"
        )
    arrays = _check_inputs(model, x)
    with _observing(clip):
        model(arrays if len(arrays) > 1 else arrays[0], training=False)


def precision(model: tf_keras.Model) -> list[dict[str, str]]:
    """One row for each layer of a model made by `quantize_aware`: what is quantized there, and how finely.

    Columns: layer, kind, weights ("4 bits per channel", "float", "" without weights), output ("8 bits", "float").
    A layer whose output says "float" is usually fused with the next one, which has the range of both.
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


def ranges(model: tf_keras.Model) -> dict[str, tuple[float, float]]:
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


def integer_kernel(model: tf_keras.Model, layer: str) -> tuple[np.ndarray, np.ndarray]:
    """(integers, scales) of a layer's weights, on the grid that the last training step used.

    layer: its name in the plain model.  Returns int64 in the weights' shape, and one scale or one for each channel of
    the last axis.  Raises ValueError if there is no such layer or its weights are not quantized.
    """
    wrappers = {w.layer.name: w for w in model.layers if isinstance(w, _keras.QuantizeWrapper) and w._weight_vars}
    if layer not in wrappers:
        raise ValueError(f"no layer {layer!r} with quantized weights; there are {sorted(wrappers)}")
    weight, quantizer, limits = wrappers[layer]._weight_vars[0]
    top = 2 ** (quantizer.num_bits - 1) - 1
    scales = np.asarray(limits["max_var"]) / top
    integers = np.floor(np.asarray(weight) / np.where(scales > 0, scales, 1) + 0.5)
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


@contextlib.contextmanager
def _observing(clip: str) -> Iterator[None]:
    """While this is open, each quantizer sets its range from what passes through it, then quantizes with it.

    The Toolkit's own way is a moving average with decay 0.999 from ±6: thousands of batches until it forgets the ±6.
    Its quantizers call these three functions through their module, so replacing them there reaches every quantizer.
    """
    last_value, seen = quant_ops.LastValueQuantize, set()

    def weights(inputs, *args, **kwargs):
        return last_value(inputs, *args, **kwargs | {"is_training": True})

    def activations(inputs, min_var, max_var, *, num_bits=8, narrow_range=False, **_):
        low, high = _extent(np.asarray(inputs), num_bits, clip)
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
    if clip == "minmax":
        return low, high
    few = values.reshape(-1)[:: max(1, values.size // 20_000)]  # the error of 20,000 values says enough
    low, high = grid.best_clip(few, bits, candidates=40).range
    return float(low), float(high)


def _weight_precision(layer, inner) -> str:
    quantizers = [q for _, q, _ in layer._weight_vars] if isinstance(layer, _keras.QuantizeWrapper) else []
    if not quantizers:
        return "float" if inner.weights else ""
    bits, each = getattr(quantizers[0], "num_bits", None), getattr(quantizers[0], "per_axis", False)
    return f"{bits} bits per {'channel' if each else 'tensor'}" if bits else type(quantizers[0]).__name__


def _output_precision(layer) -> str:
    found = activation_quantizers(layer)
    if not found:
        return "float"
    return f"{found[0].num_bits} bits" if hasattr(found[0], "num_bits") else type(found[0]).__name__


def _check_inputs(model, x) -> list[np.ndarray]:
    arrays = [np.asarray(a) for a in (x if isinstance(x, (list, tuple)) else [x])]
    if len(arrays) != len(model.inputs):
        raise ValueError(f"the model has {len(model.inputs)} inputs, {len(arrays)} arrays were passed")
    for array, wanted in zip(arrays, model.inputs, strict=True):
        shape = tuple(wanted.shape[1:])
        if array.ndim != len(shape) + 1 or any(s not in (None, n) for n, s in zip(array.shape[1:], shape, strict=True)):
            raise ValueError(f"the inputs have shape {array.shape}; the model takes (n, {', '.join(map(str, shape))})")
        if array.size == 0 or not np.all(np.isfinite(array)):
            raise ValueError(
                f"the inputs of shape {array.shape} are empty or hold NaN; pass some 100 to 500, prepared "
                "as in training"
            )
    return [tf.convert_to_tensor(a, w.dtype) for a, w in zip(arrays, model.inputs, strict=True)]
