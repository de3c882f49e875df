"""Affine quantization by hand, and TF Lite's converter with its options behind one word.

    real ≈ scale · (q - zero_point),   q a whole number in [qmin, qmax]

(Jacob et al. 2018, arXiv 1712.05877, eq. 1.)  Numbers are chosen as TF Lite's converter chooses them: activations
asymmetric in [-128, 127], weights symmetric in [-127, 127] per channel, the range always containing 0,
scales in float32.  What runs on these numbers is in `integer_kernels`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from utils.checks import check_model
from utils.optimize.quantization.converter import MODES, convert
from utils.quiet import quiet

__all__ = [
    "MODES", "Affine", "best_clip", "choose", "clip_gain", "convert", "decibels", "dequantize", "error_parts",
    "fake_quantize", "folded_kernel", "from_range", "mse", "quantize", "quiet", "round_half_away",
    "scale_and_shift", "sqnr_db", "with_quantized_weights",
]  # fmt: skip

# ---------------------------------------------------------------- numbers


@dataclass(frozen=True)
class Affine:
    """How integers stand for real numbers: real = scale · (q - zero_point).

    scale: positive float32, one number (per tensor) or one for each index of `axis` (per channel).
    zero_point: the integer that means exactly 0.0; the same shape as scale.
    qmin, qmax: the smallest and largest integer.  axis: None, or the axis that the channels are on.
    """

    scale: np.ndarray
    zero_point: np.ndarray
    qmin: int = -128
    qmax: int = 127
    axis: int | None = None

    def __post_init__(self) -> None:
        scale, zero = np.asarray(self.scale, np.float32), np.asarray(self.zero_point)
        if not np.issubdtype(zero.dtype, np.integer):
            raise TypeError(
                f"zero_point is {self.zero_point!r}; it must be a whole number, "
                "or 0.0 falls between two integers and cannot be represented exactly"
            )
        if not np.all(np.isfinite(scale)) or np.any(scale <= 0):
            raise ValueError(f"scale is {self.scale!r}; it is the distance of two neighbours, so finite and above 0")
        if self.qmin >= self.qmax:
            raise ValueError(f"qmin {self.qmin} must be below qmax {self.qmax}")
        if np.any(zero < self.qmin) or np.any(zero > self.qmax):
            raise ValueError(
                f"zero_point {self.zero_point!r} must lie in [{self.qmin}, {self.qmax}]: "
                "a range without 0 cannot pad a picture or clamp at ReLU"
            )
        if (self.axis is None) != (scale.ndim == 0):
            raise ValueError(
                f"scale has shape {scale.shape} and axis is {self.axis}; pass one scale and no axis, "
                "or a vector of scales and the axis of the channels"
            )
        object.__setattr__(self, "scale", scale)
        object.__setattr__(self, "zero_point", np.broadcast_to(zero.astype(np.int64), scale.shape))

    @property
    def dtype(self) -> np.dtype:
        """The smallest numpy integer type that holds qmin and qmax."""
        return np.dtype(
            np.int8
            if self.qmin >= -128 and self.qmax <= 127
            else np.int16
            if self.qmin >= -(2**15) and self.qmax < 2**15
            else np.int32
        )

    @property
    def range(self) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest real number that can be represented."""
        return self.scale * (self.qmin - self.zero_point), self.scale * (self.qmax - self.zero_point)

    def aligned(self, ndim: int) -> tuple[np.ndarray, np.ndarray]:
        """Scale and zero point shaped to broadcast against an array of `ndim` axes."""
        if self.axis is None:
            return self.scale, self.zero_point
        shape = [1] * ndim
        shape[self.axis] = -1
        return self.scale.reshape(shape), self.zero_point.reshape(shape)


def choose(
    x: np.ndarray, bits: int = 8, *, symmetric: bool = False, axis: int | None = None, narrow: bool | None = None
) -> Affine:
    """The scale and zero point that cover all of `x`.

    x: real numbers.  bits: 2 to 16.  axis: None for one scale, or the axis whose channels get one each.
    symmetric, narrow: see `from_range`.  Raises ValueError if x is empty or holds NaN or infinity.
    """
    x = _check_real(x)
    others = None if axis is None else tuple(i for i in range(x.ndim) if i != axis % x.ndim)
    return from_range(
        x.min(others),
        x.max(others),
        bits,
        symmetric=symmetric,
        narrow=narrow,
        axis=None if axis is None else axis % x.ndim,
    )


def from_range(
    low: float | np.ndarray,
    high: float | np.ndarray,
    bits: int = 8,
    *,
    symmetric: bool = False,
    narrow: bool | None = None,
    axis: int | None = None,
) -> Affine:
    """The scale and zero point that cover [low, high], widened to contain 0.

    symmetric: zero point 0 and the same reach on both sides, which makes the integer product shorter;
        half of the integers are wasted when all numbers have one sign.
    narrow: leave out the lowest integer, as TF Lite does for weights ([-127, 127]); by default when symmetric.
    A range of only 0 gets scale 1.
    """
    if not isinstance(bits, (int, np.integer)) or not 2 <= bits <= 16:
        raise ValueError(f"bits is {bits!r}; pass a whole number from 2 to 16")
    low, high = np.minimum(low, 0.0).astype(np.float64), np.maximum(high, 0.0).astype(np.float64)
    if not np.all(np.isfinite(low) & np.isfinite(high)):
        raise ValueError(f"the range [{low}, {high}] is not finite")
    narrow = symmetric if narrow is None else narrow
    qmin, qmax = -(2 ** (int(bits) - 1)) + bool(narrow), 2 ** (int(bits) - 1) - 1
    if symmetric:
        scale, zero = np.maximum(-low, high) / qmax, np.zeros(np.shape(low), np.int64)
        return Affine(np.where(scale > 0, scale, 1.0), zero, qmin, qmax, axis)
    scale = (high - low) / (qmax - qmin)
    scale = np.where(scale > 0, scale, 1.0)
    zero = np.clip(round_half_away(qmin - low / scale), qmin, qmax).astype(np.int64)
    return Affine(scale, zero, qmin, qmax, axis)


def quantize(x: np.ndarray, q: Affine) -> np.ndarray:
    """Real numbers to integers: divide, round (ties away from zero, as C's `round`), shift, clamp.

    x: any shape; with per-channel `q`, its axis must have as many entries as there are scales.
    """
    x = np.asarray(x)
    scale, zero = q.aligned(x.ndim)
    if q.axis is not None and x.shape[q.axis] != q.scale.size:
        raise ValueError(f"axis {q.axis} of x has {x.shape[q.axis]} channels, the quantization has {q.scale.size}")
    return np.clip(round_half_away(x / scale) + zero, q.qmin, q.qmax).astype(q.dtype)


def dequantize(q_values: np.ndarray, q: Affine) -> np.ndarray:
    """Integers to the float32 numbers that they stand for."""
    q_values = np.asarray(q_values)
    scale, zero = q.aligned(q_values.ndim)
    return (q_values.astype(np.int64) - zero).astype(np.float32) * scale


def fake_quantize(x: np.ndarray, q: Affine) -> np.ndarray:
    """`x` after the round trip: float32 numbers that all lie on the integer grid."""
    return dequantize(quantize(x, q), q)


def round_half_away(x: np.ndarray) -> np.ndarray:
    """Round to whole numbers, 0.5 up and -0.5 down, as C does.  `np.round` goes to the even neighbour instead."""
    whole = np.trunc(x)
    return whole + np.where(np.abs(x - whole) >= 0.5, np.sign(x), 0)


# ---------------------------------------------------------------- errors


def mse(x: np.ndarray, approximation: np.ndarray) -> float:
    """Mean squared error, in the square of x's unit."""
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
    return sqnr_db(x, fake_quantize(x, choose(x, bits, symmetric=symmetric, axis=axis)))


def error_parts(x: np.ndarray, q: Affine) -> tuple[float, float]:
    """(clipping, rounding): the mean squared error from values outside q's range and from those inside.

    Their sum is the whole mean squared error.
    """
    x = _check_real(x).astype(np.float64)
    low, high = q.range
    shape = [-1 if i == q.axis else 1 for i in range(x.ndim)]
    low, high = (np.reshape(edge, shape) if q.axis is not None else edge for edge in (low, high))
    squared = (x - fake_quantize(x, q)) ** 2
    outside = (x < low) | (x > high)
    return float(np.sum(squared[outside]) / x.size), float(np.sum(squared[~outside]) / x.size)


def best_clip(x: np.ndarray, bits: int = 8, *, symmetric: bool = False, candidates: int = 100) -> Affine:
    """The range, a part of x's own, with the least mean squared error.

    Tries `candidates` evenly spaced fractions of x's range and keeps the best, the whole range included:
    never worse than `choose`.  At 8 bits little is gained; at 4 and fewer, much.
    """
    x = _check_real(x)
    low, high = float(x.min()), float(x.max())
    options = [
        from_range(part * low, part * high, bits, symmetric=symmetric)
        for part in np.linspace(1, 0, candidates, endpoint=False)
    ]
    return min(options, key=lambda q: mse(x, fake_quantize(x, q)))


def clip_gain(x: np.ndarray, bits: int, *, symmetric: bool = False, candidates: int = 100) -> float:
    """By what factor `best_clip` divides the mean squared error of the whole range; at least 1."""
    whole = choose(x, bits, symmetric=symmetric)
    best = best_clip(x, bits, symmetric=symmetric, candidates=candidates)
    return mse(x, fake_quantize(x, whole)) / mse(x, fake_quantize(x, best))


def _check_real(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
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
    weights = {w.name.rpartition("/")[2].partition(":")[0]: w.numpy() for w in norm.weights}
    scale = weights.get("gamma", 1.0) / np.sqrt(weights["moving_variance"] + norm.epsilon)
    return scale, weights.get("beta", 0.0) - weights["moving_mean"] * scale


def folded_kernel(layer: Any, norm: Any) -> np.ndarray:
    """The kernel of a (depthwise) convolution after the converter has folded the batch normalization behind it.

    kernel · gamma / sqrt(moving variance + epsilon), for each output channel (Jacob et al. 2018, eq. 14).
    layer: tf_keras Conv2D or DepthwiseConv2D.  norm: its BatchNormalization.
    Returns float32 of the kernel's shape, (height, width, in, out) or (height, width, channels, multiplier).
    """
    kernel, factor = layer.get_weights()[0], scale_and_shift(norm)[0]
    return kernel * (factor.reshape(kernel.shape[2:]) if "Depthwise" in type(layer).__name__ else factor)


def with_quantized_weights(model: Any, bits: int, *, per_channel: bool = True) -> Any:
    """A copy of a tf_keras model whose kernels lie on a symmetric grid of 2^bits - 1 values: what fewer bits would do.

    Only kernels (two axes and more) are quantized, not biases or batch normalization; the arithmetic stays
    float32.  per_channel: one scale for each output channel, for depthwise kernels each input channel.
    """
    import tf_keras

    check_model(model)
    copy = tf_keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for weight in copy.trainable_weights:
        if len(weight.shape) > 1:
            axis = -2 if "depthwise" in weight.name.rpartition("/")[2] else -1
            values = weight.numpy()
            grid = choose(values, bits, symmetric=True, axis=axis if per_channel else None)
            weight.assign(fake_quantize(values, grid))
    return copy
