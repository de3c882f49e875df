"""Affine quantization by hand: choose scale and zero point, round to the grid, and measure the error.

    real ≈ scale · (q - zero_point),   q a whole number in [qmin, qmax]

(Jacob et al. 2018, arXiv 1712.05877, eq. 1.)  Numbers are chosen as TF Lite's converter chooses them: activations
asymmetric in [-128, 127], weights symmetric in [-127, 127] per channel, the range always containing 0,
scales in float32.  What runs on these numbers is in `integer_kernels`.
"""

from __future__ import annotations

import numbers
import warnings
from typing import Any

import numpy as np

from utils import checks
from utils.quantization_parameters import QuantizationParameters

__all__ = [
    "best_clip", "choose", "clip_gain", "decibels", "dequantize", "error_parts", "folded_kernel", "from_range",
    "mse", "quantize", "round_half_away", "round_trip", "scale_and_shift", "sqnr_db", "with_quantized_weights",
]  # fmt: skip

# ---------------------------------------------------------------- numbers


def choose(
    x: np.ndarray, bits: int = 8, *, symmetric: bool = False, axis: int | None = None, narrow: bool | None = None
) -> QuantizationParameters:
    """The scale and zero point that cover all of `x`.

    x: real numbers.  bits: 2 to 16.  axis: None for one scale, or the axis whose channels get one each.
    symmetric, narrow: see `from_range`.  Raises ValueError if x is empty or holds NaN or infinity.
    """
    x = _check_real(x)
    others = None
    if axis is not None:
        if isinstance(axis, bool) or not isinstance(axis, numbers.Integral) or not -x.ndim <= axis < x.ndim:
            raise ValueError(f"axis is {axis!r}; pass one axis of the array, which has shape {x.shape}")
        axis %= x.ndim
        others = tuple(i for i in range(x.ndim) if i != axis)
    return from_range(x.min(others), x.max(others), bits, symmetric=symmetric, narrow=narrow, axis=axis)


def from_range(
    low: float | np.ndarray,
    high: float | np.ndarray,
    bits: int = 8,
    *,
    symmetric: bool = False,
    narrow: bool | None = None,
    axis: int | None = None,
) -> QuantizationParameters:
    """The scale and zero point that cover [low, high], widened to contain 0.

    symmetric: zero point 0 and the same reach on both sides, which makes the integer product shorter;
        half of the integers are wasted when all numbers have one sign.
    narrow: leave out the lowest integer, as TF Lite does for weights ([-127, 127]); by default when symmetric.
    A range of only 0, or too narrow for a float32 scale, gets scale 1.
    """
    if isinstance(bits, bool) or not isinstance(bits, numbers.Integral) or not 2 <= bits <= 16:
        raise ValueError(f"bits is {bits!r}; pass a whole number from 2 to 16")
    if np.any(np.greater(low, high)):
        raise ValueError(f"the range is [{low}, {high}]; pass the smaller end first")
    low, high = np.minimum(low, 0.0).astype(np.float64), np.maximum(high, 0.0).astype(np.float64)
    if not np.all(np.isfinite(low) & np.isfinite(high)):
        raise ValueError(f"the range [{low}, {high}] is not finite")
    narrow = symmetric if narrow is None else narrow
    qmin, qmax = -(2 ** (int(bits) - 1)) + bool(narrow), 2 ** (int(bits) - 1) - 1
    if symmetric:
        scale = _at_least_float32(np.maximum(-low, high) / qmax)
        return QuantizationParameters(scale, np.zeros(np.shape(low), np.int64), qmin, qmax, axis)
    scale = _at_least_float32((high - low) / (qmax - qmin))
    zero = np.clip(round_half_away(qmin - low / scale), qmin, qmax).astype(np.int64)
    return QuantizationParameters(scale, zero, qmin, qmax, axis)


def _at_least_float32(scale: np.ndarray) -> np.ndarray:
    """1 in the place of a scale that float32 cannot tell from 0."""
    return np.where(np.asarray(scale, np.float32) > 0, scale, 1.0)


def quantize(x: np.ndarray, q: QuantizationParameters) -> np.ndarray:
    """Real numbers to integers: divide, round (ties away from zero, as C's `round`), shift, clamp.

    x: any shape; with per-channel `q`, its axis must have as many entries as there are scales.
    Raises ValueError for NaN, which no integer means; what lies outside of the range, infinity too, is clamped.
    """
    x = np.asarray(x)
    scale, zero = q.aligned(x.shape)
    if np.isnan(x).any():
        raise ValueError(f"{np.count_nonzero(np.isnan(x))} of {x.size} values are NaN; no integer stands for that")
    return np.clip(round_half_away(x / scale) + zero, q.qmin, q.qmax).astype(q.dtype)


def dequantize(q_values: np.ndarray, q: QuantizationParameters) -> np.ndarray:
    """Integers to the float32 numbers that they stand for."""
    q_values = np.asarray(q_values)
    scale, zero = q.aligned(q_values.shape)
    return ((q_values.astype(np.int64) - zero) * scale.astype(np.float64)).astype(np.float32)


def round_trip(x: np.ndarray, q: QuantizationParameters) -> np.ndarray:
    """`x` quantized and dequantized: float32 numbers that all lie on the integer grid.

    The operator that does so in training, with its gradients, is `fake.fake_quantize`.
    """
    return dequantize(quantize(x, q), q)


def round_half_away(x: np.ndarray) -> np.ndarray:
    """Round to whole numbers, 0.5 up and -0.5 down, as C does.  `np.round` goes to the even neighbour instead."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)


# ---------------------------------------------------------------- errors


def mse(x: np.ndarray, approximation: np.ndarray) -> float:
    """Mean squared error, in the square of x's unit; both of one shape."""
    if np.shape(x) != np.shape(approximation):
        raise ValueError(f"the numbers have shape {np.shape(x)}, their approximation {np.shape(approximation)}")
    return float(np.mean((np.asarray(x, np.float64) - approximation) ** 2))


def sqnr_db(x: np.ndarray, approximation: np.ndarray) -> float:
    """Signal to quantization noise ratio in decibels: 10 · log10(mean x² / mean error²); infinite without error."""
    noise = mse(x, approximation)
    signal = float(np.mean(np.asarray(x, np.float64) ** 2))
    if signal == 0:
        raise ValueError("the signal is all zeros, so there is no signal to noise ratio")
    return float("inf") if noise == 0 else 10 * float(np.log10(signal / noise))


def decibels(x: np.ndarray, bits: int = 8, *, symmetric: bool = False, axis: int | None = None) -> float:
    """`sqnr_db` of x on the grid that `choose` gives it."""
    return sqnr_db(x, round_trip(x, choose(x, bits, symmetric=symmetric, axis=axis)))


def error_parts(x: np.ndarray, q: QuantizationParameters) -> tuple[float, float]:
    """(clipping, rounding): the mean squared error from values outside q's range and from those inside.

    Their sum is the whole mean squared error.
    """
    x = _check_real(x).astype(np.float64)
    scale, zero = q.aligned(x.shape)
    low, high = scale * (q.qmin - zero), scale * (q.qmax - zero)
    squared = (x - round_trip(x, q)) ** 2
    outside = (x < low) | (x > high)
    return float(np.sum(squared[outside]) / x.size), float(np.sum(squared[~outside]) / x.size)


def best_clip(
    x: np.ndarray, bits: int = 8, *, symmetric: bool = False, candidates: int = 100
) -> QuantizationParameters:
    """The range, a part of x's own, with the least mean squared error.

    Tries `candidates` evenly spaced fractions of x's range and keeps the best, the whole range included:
    never worse than `choose`.  At 8 bits little is gained; at 4 and fewer, much.
    """
    x = _check_real(x)
    if candidates < 1:
        raise ValueError(f"candidates is {candidates!r}; pass how many ranges to try, at least 1")
    low, high = float(x.min()), float(x.max())
    options = [
        from_range(part * low, part * high, bits, symmetric=symmetric)
        for part in np.linspace(1, 0, candidates, endpoint=False)
    ]
    return min(options, key=lambda q: mse(x, round_trip(x, q)))


def clip_gain(x: np.ndarray, bits: int, *, symmetric: bool = False, candidates: int = 100) -> float:
    """By what factor `best_clip` divides the mean squared error of the whole range; at least 1.

    Errors below float32's own rounding count as that rounding, so a constant, which has no other, gains nothing: 1.
    """
    whole = choose(x, bits, symmetric=symmetric)
    best = best_clip(x, bits, symmetric=symmetric, candidates=candidates)
    least = (float(np.finfo(np.float32).eps) * float(np.abs(x).max())) ** 2
    before, after = (max(mse(x, round_trip(x, q)), least) for q in (whole, best))
    return before / after if after else 1.0


def _check_real(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.dtype.kind not in "fiub":
        raise TypeError(f"the array is of type {x.dtype}; pass real numbers")
    if x.size == 0:
        raise ValueError(f"cannot choose a range for an empty array of shape {x.shape}")
    if not np.all(np.isfinite(x)):
        raise ValueError(
            f"{np.count_nonzero(~np.isfinite(x))} of {x.size} values are NaN or infinite; "
            "find out where they come from before quantizing"
        )
    return x


# ---------------------------------------------------------------- weights of a model


def scale_and_shift(norm: Any) -> tuple[np.ndarray, np.ndarray]:
    """A tf_keras BatchNormalization in inference, x · scale + shift: one of each for each channel."""
    if not hasattr(norm, "moving_variance"):
        raise TypeError(f"norm is a {type(norm).__name__}; pass a built BatchNormalization")
    gamma, beta = (1.0 if norm.gamma is None else norm.gamma.numpy()), (0.0 if norm.beta is None else norm.beta.numpy())
    scale = gamma / np.sqrt(norm.moving_variance.numpy() + norm.epsilon)
    return scale, beta - norm.moving_mean.numpy() * scale


def folded_kernel(layer: Any, norm: Any) -> np.ndarray:
    """The kernel of a layer after the converter has folded the batch normalization behind it.

    kernel · gamma / sqrt(moving variance + epsilon), for each output channel (Jacob et al. 2018, eq. 14).
    layer: a tf_keras layer with one kernel, such as Conv2D, Conv2DTranspose, DepthwiseConv2D, Dense.
    norm: its BatchNormalization, over the channels.  Returns float32 of the kernel's shape.
    """
    from utils.optimize import keras_weights

    kernels, factor = keras_weights.kernels(layer), scale_and_shift(norm)[0]
    if len(kernels) != 1:
        raise ValueError(f"layer {layer.name!r} ({type(layer).__name__}) has {len(kernels)} kernels; pass one with one")
    axis = 1 if getattr(layer, "data_format", None) == "channels_first" else norm.input_spec.ndim - 1
    if list(norm.axis) != [axis]:
        raise ValueError(
            f"norm {norm.name!r} has axis {list(norm.axis)}; the channels of {layer.name!r} are axis {axis}"
        )
    [weight] = kernels
    kernel, channels = weight.variable.numpy(), weight.channels
    shape = [size if axis in channels else 1 for axis, size in enumerate(kernel.shape)]
    if factor.size != np.prod(shape):
        raise ValueError(
            f"layer {layer.name!r} has {np.prod(shape)} output channels, the normalization {norm.name!r} {factor.size}"
        )
    return kernel * factor.reshape(shape)


def with_quantized_weights(model: Any, bits: int, *, per_channel: bool = True) -> Any:
    """A copy of a tf_keras model whose kernels lie on a symmetric grid of 2^bits - 1 values: what fewer bits would do.

    Kernels are those of `keras_weights`: of convolutions, dense and recurrent layers and attention, and embeddings;
    frozen ones too.  All else stays bit for bit: biases, normalization, slopes.  The arithmetic stays float32.

    model: built, Sequential or functional.
    bits: 2 to 16.
    per_channel: one scale for each output channel (for each head and key of attention, each column of an
        embedding), or one for the whole kernel.

    Raises TypeError or ValueError for a model that is not in float32, not finite or cannot be copied, and for one
    without kernels.  Warns of arrays in layers that are not known, which stay as they are.
    """
    from utils.optimize import keras_weights
    from utils.optimize.keras_graph import rebuild

    checks.check_model(model, graph=True)
    copy = rebuild(model)
    kernels = keras_weights.kernels(copy)
    if not kernels:
        raise ValueError(f"the model {model.name!r} has no kernels of layers that are known, so nothing to quantize")
    for kernel in kernels:
        kernel.variable.assign(_on_grid(kernel.variable.numpy(), bits, kernel.channels if per_channel else ()))
    unknown = [w.name for w in keras_weights.weights(copy) if w.role == "unknown" and len(w.variable.shape) > 1]
    if unknown:
        warnings.warn(f"not quantized, as their layers are not known: {', '.join(unknown)}", stacklevel=2)
    return copy


def _on_grid(kernel: np.ndarray, bits: int, channels: tuple[int, ...]) -> np.ndarray:
    """`kernel` on a symmetric grid for each combination of its channels, which may run over several axes."""
    if not channels:
        return round_trip(kernel, choose(kernel, bits, symmetric=True))
    behind = tuple(range(-len(channels), 0))
    moved = np.moveaxis(kernel, channels, behind)
    table = moved.reshape(-1, int(np.prod(moved.shape[behind[0] :])))
    table = round_trip(table, choose(table, bits, symmetric=True, axis=1))
    return np.moveaxis(table.reshape(moved.shape), behind, channels)
