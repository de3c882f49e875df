"""Quantized inference by hand: the arithmetic of TF Lite's int8 reference kernels, written again in numpy.

Every layer here gives the same int8 numbers, bit for bit, as the kernels that the interpreter runs
with `OpResolverType.BUILTIN_REF`.  That is possible because the whole way is integer arithmetic:
int8 × int8 products, an int32 sum, and a multiplication by a fixed-point number instead of a float.
`hybrid_dense` is the one layer with float ends; it computes in the kernel's order and precision, ties included.
A whole file runs by these layers in `by_hand`.  Paths such as tflite/kernels/… are LiteRT's source, August 2026.

    y = zero_y + round( (scale_x · scale_w / scale_y) · Σ (x - zero_x) · w )       Jacob et al. 2018, eq. 4

numpy has no fast integer matrix product, but its float64 one calls BLAS, and it is exact here: a
product of a (signed 9 bit) input difference and an int8 weight is below 2^16, so a sum of up to 2^37 of
them stays below 2^53, where float64 still holds every whole number.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from utils.optimize.quantization.grid import quantize, round_half_away
from utils.quantization_parameters import QuantizationParameters

INT32_MAX = 2**31 - 1

#: Real-valued limits of the activation functions that a kernel fuses into its output clamp.
ACTIVATIONS = {None: (None, None), "relu": (0.0, None), "relu6": (0.0, 6.0), "relu_n1_to_1": (-1.0, 1.0)}

#: Between these, neither a row's range nor the reciprocal of its scale leaves float32's normal numbers.
_REACH = (1e-35, 1e38)

#: How many pictures a convolution unfolds at once: few enough that the patches stay in the CPU's cache.
_PICTURES_AT_ONCE = 64


# ---------------------------------------------------------------- requantization: fixed-point multiplication


def quantized_multiplier(real: float | np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`real` ≈ multiplier · 2^(shift - 31), with a 31-bit multiplier: the form in which kernels hold it.

    real: one or many finite numbers, not negative.
    Returns (multiplier, shift): integer arrays of the same shape; multiplier is 0 or in
    [2^30, 2^31), so it carries 30 significant bits, whatever the size of `real`.
    Below about 2^-32 it is flushed to 0, as in TF Lite's `QuantizeMultiplier`.
    """
    real = np.asarray(real, np.float64)
    if not np.all(np.isfinite(real)) or np.any(real < 0):
        raise ValueError(f"a multiplier is a ratio of scales, so finite and not negative; got {real}")
    fraction, shift = np.frexp(real)
    multiplier = round_half_away(fraction * 2.0**31).astype(np.int64)
    overflow = multiplier == 2**31  # a fraction like 0.9999999999 rounds up to 1.0
    multiplier, shift = np.where(overflow, 2**30, multiplier), np.where(overflow, shift + 1, shift)
    vanishing = shift < -31
    return np.where(vanishing, 0, multiplier), np.where(vanishing, 0, shift).astype(np.int64)


def multiply_by_quantized_multiplier(x: np.ndarray, multiplier: np.ndarray, shift: np.ndarray) -> np.ndarray:
    """round(x · multiplier · 2^(shift - 31)) without one floating-point operation.

    It rounds **twice**, as TF Lite's kernels do by default: once when the 64-bit product is cut to 32
    bits, once when the rest is shifted out.  Hence it may miss the exactly rounded value by 1.
    x: integers of the int32 range.  multiplier, shift: from `quantized_multiplier`, broadcast against x.
    Returns int64 values of the int32 range.
    """
    left, right = np.maximum(shift, 0), np.maximum(-np.asarray(shift), 0)
    return rounding_divide_by_power_of_two(high_mul(np.asarray(x, np.int64) << left, multiplier), right)


def high_mul(a: np.ndarray, b: np.ndarray | int) -> np.ndarray:
    """The upper half of the doubled 64-bit product a · b, rounded: gemmlowp's fixed-point multiplication.

    Read as fractions of 2^31 it is simply a · b.  Ties go up.  int32 values in, int32 range out.
    """
    product = (np.asarray(a, np.int64) * b + 2**30) >> 31
    return np.minimum(product, INT32_MAX)  # only (-2^31)² does not fit


def rounding_divide_by_power_of_two(x: np.ndarray, exponent: np.ndarray | int) -> np.ndarray:
    """round(x / 2^exponent) by a shift; ties go away from zero.  exponent: 0 to 31."""
    x, exponent = np.asarray(x, np.int64), np.asarray(exponent, np.int64)
    half = (np.int64(1) << exponent) >> 1
    return (x + half - ((x < 0) & (exponent > 0))) >> exponent


def requantize(
    total: np.ndarray,
    real: np.ndarray | float,
    y: QuantizationParameters,
    activation: str | None = None,
    *,
    fixed_point: bool = True,
) -> np.ndarray:
    """From int32 sums to int8 outputs: multiply, add the zero point, clamp to the activation's range.

    total: int32 sums, channels last.  real: scale_x · scale_w / scale_y, one number or one a channel.
    fixed_point: False multiplies by `real` itself in float64, which rounds once.
    """
    low, high = activation_limits(y, activation)
    scaled = (
        multiply_by_quantized_multiplier(total, *quantized_multiplier(real))
        if fixed_point
        else round_half_away(total * np.float64(real)).astype(np.int64)
    )
    return np.clip(scaled + int(y.zero_point), low, high).astype(y.dtype)


def activation_limits(y: QuantizationParameters, activation: str | None) -> tuple[int, int]:
    """The integers between which the output is clamped: ReLU costs nothing in integer arithmetic.

    If a layer with ReLU has its zero point at qmin (the calibrated range started at 0), the clamp to
    the number range *is* the ReLU.
    """
    low, high = _real_limits(activation)
    return (
        y.qmin if low is None else int(quantize(np.float32(low), y)),
        y.qmax if high is None else int(quantize(np.float32(high), y)),
    )


def _real_limits(activation: str | None) -> tuple[float | None, float | None]:
    if activation not in ACTIVATIONS:
        raise ValueError(f"no clamp for the activation {activation!r}; pass one of {list(ACTIVATIONS)}")
    return ACTIVATIONS[activation]


# ---------------------------------------------------------------- layers


def dense(
    x: np.ndarray,
    weights: np.ndarray,
    bias: np.ndarray | None,
    x_q: QuantizationParameters,
    w_q: QuantizationParameters,
    y_q: QuantizationParameters,
    activation: str | None = None,
    *,
    fixed_point: bool = False,
) -> np.ndarray:
    """A fully connected int8 layer.

    x: int8, (..., inputs).  weights: int8, (units, inputs).  bias: int32 in steps of scale_x · scale_w, (units,).
    x_q, w_q, y_q: their quantization; w_q per tensor or per unit (axis 0).  Returns int8, (..., units).
    fixed_point: LiteRT 2.3's reference kernel for this layer, unlike those for convolutions, rescales in float64, "to
        avoid loss of precision" (tflite/kernels/internal/reference/integer_ops/fully_connected.h, lines 79 and 182);
        TensorFlow Lite Micro's rescales by a fixed-point multiplier.
    """
    _check_integers("dense", x=x, weights=weights, bias=bias)
    _check_inputs("dense", x, weights)
    _check_scales("dense", weights, x_q, w_q, y_q, axis=0)
    total = _centred(x, x_q) @ (weights.astype(np.float64) - np.float64(w_q.zero_point).reshape(-1, 1)).T
    real = _micro_dense_multiplier(x_q, w_q, y_q) if fixed_point else _multiplier(x_q, w_q, y_q)
    return requantize(_accumulator(total, bias), real, y_q, activation, fixed_point=fixed_point)


def conv2d(
    x: np.ndarray,
    filters: np.ndarray,
    bias: np.ndarray | None,
    x_q: QuantizationParameters,
    w_q: QuantizationParameters,
    y_q: QuantizationParameters,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: str = "valid",
    dilation: tuple[int, int] = (1, 1),
    activation: str | None = None,
) -> np.ndarray:
    """An int8 convolution: each patch of the picture is one row of a matrix product.

    x: int8, (n, height, width, channels).  filters: int8, (out, height, width, channels / groups).
    bias: int32, (out,).  strides, dilation: (vertical, horizontal).  padding: "same" or "valid".
    Returns int8, (n, new height, new width, out).  Padding adds *real* zeros, that is x's zero point.
    """
    _check_integers("conv2d", x=x, weights=filters, bias=bias)
    groups = _groups(x, filters)
    _check_scales("conv2d", filters, x_q, w_q, y_q, axis=0, symmetric=True)
    out, height, width, depth = filters.shape
    real = _multiplier(x_q, w_q, y_q)
    matrix = filters.astype(np.float64).reshape(groups, out // groups, -1).transpose(0, 2, 1)

    def layer(part: np.ndarray) -> np.ndarray:
        patches = _patches(part, x_q, (height, width), strides, padding, dilation)
        rows = [patches[..., g * depth : (g + 1) * depth].reshape(-1, height * width * depth) for g in range(groups)]
        total = np.concatenate([r @ m for r, m in zip(rows, matrix, strict=True)], axis=-1)
        total = total.reshape(*patches.shape[:3], out)
        return requantize(_accumulator(total, bias), real, y_q, activation)

    return _in_parts(layer, x)


def depthwise_conv2d(
    x: np.ndarray,
    filters: np.ndarray,
    bias: np.ndarray | None,
    x_q: QuantizationParameters,
    w_q: QuantizationParameters,
    y_q: QuantizationParameters,
    *,
    strides: tuple[int, int] = (1, 1),
    padding: str = "valid",
    dilation: tuple[int, int] = (1, 1),
    activation: str | None = None,
) -> np.ndarray:
    """An int8 convolution of every channel with filters of its own.

    filters: int8, (1, height, width, channels · multiplier); w_q per tensor or per channel (axis 3).
    Everything else as in `conv2d`.
    """
    _check_integers("depthwise_conv2d", x=x, weights=filters, bias=bias)
    if filters.ndim != 4 or filters.shape[0] != 1 or filters.shape[-1] % x.shape[-1]:
        raise ValueError(
            f"filters of shape {filters.shape} do not fit {x.shape[-1]} input channels: "
            "pass (1, height, width, channels · multiplier), the last axis a multiple of them"
        )
    _check_scales("depthwise_conv2d", filters, x_q, w_q, y_q, axis=3, symmetric=True)
    repeat = filters.shape[-1] // x.shape[-1]
    weights, real = filters[0].astype(np.float64), _multiplier(x_q, w_q, y_q)

    def layer(part: np.ndarray) -> np.ndarray:
        patches = _patches(np.repeat(part, repeat, -1), x_q, filters.shape[1:3], strides, padding, dilation)
        total = np.einsum("nyxijc,ijc->nyxc", patches, weights)
        return requantize(_accumulator(total, bias), real, y_q, activation)

    return _in_parts(layer, x)


def max_pool(
    x: np.ndarray,
    size: tuple[int, int],
    x_q: QuantizationParameters,
    *,
    strides: tuple[int, int],
    padding: str = "valid",
    activation: str | None = None,
) -> np.ndarray:
    """The largest integer is the largest real value, so nothing has to be rescaled.  int8 in and out."""
    _check_integers("max_pool", x=x)
    low, high = activation_limits(x_q, activation)
    windows = _windows(x, size, strides, padding, fill=np.iinfo(x.dtype).min)
    return np.clip(windows.max((3, 4)), low, high)


def average_pool(
    x: np.ndarray,
    size: tuple[int, int],
    x_q: QuantizationParameters,
    *,
    strides: tuple[int, int],
    padding: str = "valid",
    activation: str | None = None,
) -> np.ndarray:
    """The mean of the integers of each window that lie inside the picture, ties away from zero."""
    _check_integers("average_pool", x=x)
    low, high = activation_limits(x_q, activation)
    total = _windows(x.astype(np.int64), size, strides, padding, fill=0).sum((3, 4))
    count = _windows(np.ones((1, *x.shape[1:3], 1), np.int64), size, strides, padding, fill=0).sum((3, 4))
    magnitude = (np.abs(total) + count // 2) // count
    return np.clip(np.sign(total) * magnitude, low, high).astype(x.dtype)


def add(
    a: np.ndarray,
    b: np.ndarray,
    a_q: QuantizationParameters,
    b_q: QuantizationParameters,
    y_q: QuantizationParameters,
    activation: str | None = None,
) -> np.ndarray:
    """Two int8 tensors of different scales: both are first brought to twice the larger scale.

    20 extra bits (`<< 20`) keep what the two roundings would lose.
    """
    _check_integers("add", a=a, b=b)
    common = 2.0 * max(float(a_q.scale), float(b_q.scale))
    total = sum(
        multiply_by_quantized_multiplier(
            (t.astype(np.int64) - int(q.zero_point)) << 20, *quantized_multiplier(float(q.scale) / common)
        )
        for t, q in ((a, a_q), (b, b_q))
    )
    return requantize(total, common / (2.0**20 * float(y_q.scale)), y_q, activation)


def mean(
    x: np.ndarray, axes: Sequence[int], x_q: QuantizationParameters, y_q: QuantizationParameters, keepdims: bool = False
) -> np.ndarray:
    """Global average pooling: the division by the count is folded into the fixed-point multiplier."""
    _check_integers("mean", x=x)
    if not all(-x.ndim <= axis < x.ndim for axis in axes) or not x.size:
        raise ValueError(f"mean over the axes {[int(axis) for axis in axes]} of an array of shape {x.shape}")
    axes = tuple(int(axis) % x.ndim for axis in axes)
    count = math.prod(x.shape[axis] for axis in axes)
    multiplier, shift = (int(v) for v in quantized_multiplier(float(x_q.scale) / float(y_q.scale)))
    bits = min(count.bit_length() - 1, 32, 31 + shift)
    multiplier, shift = (multiplier << bits) // count, shift - bits
    total = x.sum(axes, dtype=np.int64, keepdims=keepdims) - int(x_q.zero_point) * count
    scaled = multiply_by_quantized_multiplier(total, multiplier, shift) + int(y_q.zero_point)
    return np.clip(scaled, y_q.qmin, y_q.qmax).astype(x.dtype)


def rescale(x: np.ndarray, x_q: QuantizationParameters, y_q: QuantizationParameters) -> np.ndarray:
    """The same real values on another integer grid (the operator QUANTIZE between two integer tensors)."""
    _check_integers("rescale", x=x)
    return requantize(x.astype(np.int64) - int(x_q.zero_point), float(x_q.scale) / float(y_q.scale), y_q)


def softmax(x: np.ndarray, x_q: QuantizationParameters, beta: float = 1.0) -> np.ndarray:
    """Softmax over the last axis without floating point; the output's scale is 1/256, its zero point -128.

    exp and 1/x are polynomials and Newton steps on 32-bit fractions (gemmlowp's fixedpoint.h).  An int8
    difference to the row's maximum has only 256 values, so exp is computed once for each of them.
    """
    if np.asarray(x).dtype != np.int8 or not np.size(x):
        raise TypeError(f"softmax takes int8, (…, classes); got {np.asarray(x).dtype} of shape {np.shape(x)}")
    difference = x.astype(np.int64) - x.max(-1, keepdims=True)
    exponential = _exponentials(float(x_q.scale) * beta)[-difference]
    total = rounding_divide_by_power_of_two(exponential, 12).sum(-1, keepdims=True)  # 12 integer bits
    headroom = 32 - np.frexp(total.astype(np.float64))[1]  # leading zeros of the uint32
    reciprocal = _one_over_one_plus((total << headroom) - 2**31)
    scaled = rounding_divide_by_power_of_two(high_mul(reciprocal, exponential), 12 - headroom + 31 - 8)
    return np.clip(scaled - 128, -128, 127).astype(np.int8)


# ---------------------------------------------------------------- dynamic range: floats outside, integers inside


def quantize_rows(x: np.ndarray, *, symmetric: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What a hybrid kernel does with its float input: each row gets a scale of its own, while the network runs.

    x: float32, (n, inputs).  symmetric: zero point 0, as in files of before 2020 (`asymmetric_quantize_inputs` False).
    Returns (integers, scale, zero point): int8 (n, inputs), float32 (n, 1), int64 (n, 1).

    Source: NeonAsymmetricQuantizeFloats and NeonSymmetricQuantizeFloats in
    tflite/kernels/internal/optimized/neon_tensor_utils.cc, which x86 builds run too (NEON_2_SSE).  The order decides
    where ties fall: the range is subtracted in float32 and divided in float64, a row is *multiplied* by the float32
    reciprocal of its scale, rounded with ties away from zero, and only then moved by the zero point.
    Builds without NEON and SSE4.1 run PortableAsymmetricQuantizeFloats, which adds the zero point before it rounds; it
    agrees except for rows of which `near_tie` is True.
    """
    x = _check_rows(x)
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    if symmetric:
        reach = np.maximum(-low, high)
        flat = reach == 0
        scale, factor = reach / np.float32(127), np.float32(127) / np.where(flat, 1, reach)
        zero = np.zeros(scale.shape, np.int64)
    else:
        flat = low == high
        step = np.where(flat, 1, np.float64(high - low) / 255)
        zero = np.clip(round_half_away(_real_zero(low, high, step)), -128, 127).astype(np.int64)
        scale = step.astype(np.float32)
        factor = (1 / np.float64(scale)).astype(np.float32)
    integers = np.clip(_round_as_vectors(x * factor) + zero, -127 if symmetric else -128, 127)
    scale, zero = np.where(flat, np.float32(1), scale), np.where(flat, 0, zero)
    return np.where(flat, 0, integers).astype(np.int8), scale, zero


def near_tie(x: np.ndarray, steps: float = 2.0**-15) -> np.ndarray:
    """True for each row in which a number, or the zero point, lies within `steps` of a rounding tie.

    There processors and builds may round to different integers.  x as in `quantize_rows`.  The default is more than
    the roundings in which the known kernels differ: sum and product are off by 2^-18 each (half a unit in the last
    place of numbers up to 128), the range by one part in 2^24 of at most 255 steps.
    Returns bool, (n,).
    """
    x = np.float64(_check_rows(x))
    low, high = np.minimum(x.min(1, keepdims=True), 0), np.maximum(x.max(1, keepdims=True), 0)
    step = np.where(low == high, 1, (high - low) / 255)
    numbers = np.concatenate([x / step, _real_zero(low, high, step)], 1)
    return np.any(np.abs(numbers - np.floor(numbers) - 0.5) <= steps, axis=1)


def _round_as_vectors(x: np.ndarray) -> np.ndarray:
    """Ties away from zero as RoundToNearest does it for eight numbers at a time: add a half in float32, cut.

    It differs from `round` at one number only, the one below 0.5: the sum is rounded up to 1.  What is left of a row
    after its last eight is rounded by `round`; Armv8 has an instruction that rounds all of them that way.
    """
    rounded, rest = np.trunc(x + np.copysign(np.float32(0.5), x)), x.shape[1] // 8 * 8
    rounded[:, rest:] = round_half_away(x[:, rest:])
    return rounded


def _real_zero(low: np.ndarray, high: np.ndarray, step: np.ndarray) -> np.ndarray:
    """The zero point before it is rounded, from that end of the range where the error is smaller."""
    from_low, from_high = -128 - low / step, 127 - high / step
    return np.where(128 + np.abs(low / step) < 127 + np.abs(high / step), from_low, from_high)


def hybrid_dense(
    x: np.ndarray,
    weights: np.ndarray,
    scales: np.ndarray | float,
    bias: np.ndarray | None = None,
    activation: str | None = None,
    *,
    symmetric: bool = False,
) -> np.ndarray:
    """A fully connected layer with float32 ends and int8 weights: dynamic range quantization.

    y = scale_x · scale_w · Σ (q_x - zero_x) · q_w + bias, with a scale_x and a zero_x for each row of x.

    x: float32, (n, inputs).  weights: int8, (units, inputs).  scales: of the weights, one or one a unit.
    bias: float32, (units,).  symmetric: see `quantize_rows`.  Returns float32, (n, units).

    Source: EvalHybridDense in tflite/kernels/fully_connected.cc.  Integers are equal on every processor, except for
    rows that are `near_tie`.  The float end is the scales' product times the sum, plus the bias, each rounded to
    float32; a processor that fuses the last two (Arm) may differ by one unit in the last place of the product.
    XNNPACK, the default delegate, rounds ties to even and is not meant.
    """
    _check_integers("hybrid_dense", weights=weights)
    _check_inputs("hybrid_dense", x, weights)
    low, high = _real_limits(activation)
    integers, scale, zero = quantize_rows(x, symmetric=symmetric)
    total = _accumulator((integers.astype(np.float64) - zero) @ weights.T.astype(np.float64), None)
    product = total.astype(np.float32) * (scale * np.asarray(scales, np.float32).reshape(1, -1))
    return np.clip(product if bias is None else product + np.asarray(bias, np.float32), low, high)


def _check_rows(x: np.ndarray) -> np.ndarray:
    x = np.asarray(x)
    if x.ndim != 2 or x.dtype != np.float32:
        raise ValueError(f"a hybrid layer takes float32 rows, (n, inputs); got {x.dtype} of shape {x.shape}")
    reach = np.abs(x).max(1, initial=0)
    if x.size == 0 or not np.all((reach == 0) | ((reach > _REACH[0]) & (reach < _REACH[1]))):
        raise ValueError(
            "each row needs a scale and its reciprocal in float32, so its largest number must be 0 or between "
            f"{_REACH[0]:g} and {_REACH[1]:g}; got {reach}"
        )
    return x


# ---------------------------------------------------------------- helpers


def _check_integers(name: str, **arrays: np.ndarray | None) -> None:
    """Raise TypeError unless each array is one of integers: others would be cut to whole numbers without a word."""
    for what, array in arrays.items():
        if array is None or np.issubdtype(getattr(array, "dtype", None), np.integer):
            continue
        found = getattr(array, "dtype", type(array).__name__)
        raise TypeError(f"{name}: {what} is {found}; an integer kernel takes integers: quantize it first")


def _check_inputs(name: str, x: np.ndarray, weights: np.ndarray) -> None:
    if np.ndim(x) == 0 or np.ndim(weights) != 2:
        raise ValueError(
            f"{name} takes x of (…, inputs) and weights of (units, inputs); got {np.shape(x)} and {np.shape(weights)}"
        )
    if np.shape(x)[-1] != weights.shape[-1]:
        raise ValueError(f"{name}: x has {np.shape(x)[-1]} inputs, the weights are for {weights.shape[-1]}")


def _check_scales(
    name: str,
    weights: np.ndarray,
    x_q: QuantizationParameters,
    w_q: QuantizationParameters,
    y_q: QuantizationParameters,
    *,
    axis: int,
    symmetric: bool = False,
) -> None:
    """One scale for x and y, one or one an output channel for the weights, whose zero point is 0 if `symmetric`."""
    for what, q in (("x_q", x_q), ("y_q", y_q)):
        if q.per_channel:
            raise ValueError(f"{name}: {what} has {q.scales.size} scales on axis {q.axis}; activations have one scale")
    if w_q.per_channel and w_q.axis % weights.ndim != axis:
        raise ValueError(f"{name}: w_q has its scales on axis {w_q.axis}; the output channels are axis {axis}")
    w_q.aligned(weights.shape)
    if symmetric and np.any(w_q.zero_points):
        raise ValueError(f"{name}: w_q has the zero point {w_q.zero_points}; a convolution's weights have 0")


def _groups(x: np.ndarray, filters: np.ndarray) -> int:
    if x.ndim != 4 or filters.ndim != 4:
        raise ValueError(
            f"conv2d takes x of (n, height, width, channels) and filters of (out, height, width, "
            f"channels); got {x.shape} and {filters.shape}"
        )
    if x.shape[-1] % filters.shape[-1]:
        raise ValueError(f"conv2d: x has {x.shape[-1]} channels, the filters {filters.shape[-1]}")
    groups = x.shape[-1] // filters.shape[-1]
    if len(filters) % groups:
        raise ValueError(f"conv2d: {len(filters)} filters cannot be divided among {groups} groups of channels")
    return groups


def _centred(x: np.ndarray, q: QuantizationParameters) -> np.ndarray:
    return x.astype(np.float64) - float(q.zero_point)


def _accumulator(total: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
    """The int32 register: exact sums from float64, plus the int32 bias; a sum that does not fit is an error."""
    total = total.astype(np.int64) + (0 if bias is None else bias.astype(np.int64))
    if total.size and max(total.max(), -total.min()) > INT32_MAX:
        raise OverflowError("a sum of products does not fit into the int32 accumulator: the kernel would wrap around")
    return total


def _multiplier(x_q: QuantizationParameters, w_q: QuantizationParameters, y_q: QuantizationParameters) -> np.ndarray:
    return np.float64(x_q.scale) * np.float64(w_q.scale) / np.float64(y_q.scale)


def _micro_dense_multiplier(
    x_q: QuantizationParameters, w_q: QuantizationParameters, y_q: QuantizationParameters
) -> np.ndarray:
    """For a per-tensor dense layer the product of the two scales is rounded to float32 first."""
    if np.size(w_q.scale) > 1:
        return _multiplier(x_q, w_q, y_q)
    return np.float64(np.float32(x_q.scale) * np.float32(w_q.scale).reshape(())) / np.float64(y_q.scale)


def _in_parts(layer: Callable[[np.ndarray], np.ndarray], x: np.ndarray) -> np.ndarray:
    return np.concatenate([layer(x[i : i + _PICTURES_AT_ONCE]) for i in range(0, max(len(x), 1), _PICTURES_AT_ONCE)])


def _patches(x, q: QuantizationParameters, size, strides, padding: str, dilation=(1, 1)) -> np.ndarray:
    """The real-zero-padded picture's patches as float64 differences: (n, y, x, height, width, channels)."""
    return _windows(_centred(x, q), size, strides, padding, fill=0.0, dilation=dilation)


def _windows(x, size, strides, padding: str, *, fill, dilation=(1, 1)) -> np.ndarray:
    """All windows of `size`, without a copy: (n, y, x, window height, window width, channels)."""
    if padding not in ("same", "valid"):
        raise ValueError(f"padding is 'same' or 'valid'; got {padding!r}")
    for what, pair in (("a window", size), ("strides", strides), ("dilation", dilation)):
        if np.shape(pair) != (2,) or min(pair) < 1:
            raise ValueError(f"{what} of {pair!r}; pass (vertical, horizontal), whole numbers of at least 1")
    if x.ndim != 4:
        raise ValueError(f"a picture has the shape (n, height, width, channels); got {x.shape}")
    reach = [d * (s - 1) + 1 for s, d in zip(size, dilation, strict=True)]
    if padding == "same":
        x = np.pad(x, [(0, 0), *map(_same_padding, x.shape[1:3], reach, strides), (0, 0)], constant_values=fill)
    if x.shape[1] < reach[0] or x.shape[2] < reach[1]:
        raise ValueError(f"a window of {tuple(reach)} does not fit into a picture of {x.shape[1:3]}")
    windows = np.lib.stride_tricks.sliding_window_view(x, reach, axis=(1, 2))
    windows = windows[:, :: strides[0], :: strides[1], :, :: dilation[0], :: dilation[1]]
    return windows.transpose(0, 1, 2, 4, 5, 3)


def _same_padding(length: int, reach: int, stride: int) -> tuple[int, int]:
    """Rows before and after: the output has ceil(length / stride) of them; an odd one goes behind."""
    missing = max((-(-length // stride) - 1) * stride + reach - length, 0)
    return missing // 2, missing - missing // 2


def _exponentials(real_scale: float) -> np.ndarray:
    """exp(-real_scale · d) for d = 0 … 255 as fractions of 2^31; 0 where it is too small to matter."""
    multiplier, shift = quantized_multiplier(min(real_scale * 2.0**26, 2.0**31 - 1))
    reachable = math.floor(31 * 2.0**26 / 2.0 ** int(shift))  # further down the 5 integer bits overflow
    d = np.arange(256)
    scaled = high_mul(-np.minimum(d, reachable) << shift, multiplier)
    return np.where(d <= reachable, _exp_of_negative(scaled), 0)


def _exp_of_negative(a: np.ndarray) -> np.ndarray:
    """exp(a / 2^26) as a fraction of 2^31, for -32 < a / 2^26 <= 0.

    a = -(a multiple of 1/4) + a rest in [-1/4, 0): a polynomial for the rest, and one multiplication
    by exp(-2^k) for each set bit of the multiple.
    """
    quarter = 2**24
    rest = (a & (quarter - 1)) - quarter
    x = (rest << 5) + 2**28  # around -1/8, in fractions of 2^31
    x2 = high_mul(x, x)
    x3, x4 = high_mul(x2, x), high_mul(x2, x2)
    series = high_mul(rounding_divide_by_power_of_two(x4, 2) + x3, 715827883) + x2  # (x⁴/4 + x³)/3 + x²
    start = 1895147668  # exp(-1/8)
    result = start + high_mul(x + rounding_divide_by_power_of_two(series, 1), start)
    for k in range(-2, 5):
        factor = round(math.exp(-(2.0**k)) * 2**31)
        result = np.where((rest - a) & int(2.0 ** (26 + k)), high_mul(result, factor), result)
    return np.where(a == 0, INT32_MAX, result)


def _one_over_one_plus(a: np.ndarray) -> np.ndarray:
    """1 / (1 + a) for a in [0, 1), fractions of 2^31: three Newton steps from 48/17 - 32/17 · (1 + a)/2."""
    half = (a + INT32_MAX + 1) >> 1
    x = 1515870810 + high_mul(half, -1010580540)  # 2 integer bits from here on
    for _ in range(3):
        x = x + (high_mul(x, 2**29 - high_mul(half, x)) << 2)
    return np.minimum(x << 1, INT32_MAX)
