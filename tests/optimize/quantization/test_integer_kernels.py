"""Every hand-written layer against its definition; the hybrid one against LiteRT's, bit for bit, ties included."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.dense_file import ACTIVATIONS, dense_file
from utils.optimize.quantization import by_hand
from utils.optimize.quantization import grid as q
from utils.optimize.quantization import integer_kernels as kernels
from utils.quantization_parameters import QuantizationParameters

SEEDS = range(4)


# ---------------------------------------------------------------- fixed-point multiplication


@pytest.mark.parametrize("seed", SEEDS)
def test_multiplier_and_shift_are_the_real_number(seed):
    real = 2.0 ** np.random.default_rng(seed).uniform(-30, 10, 1000)
    multiplier, shift = kernels.quantized_multiplier(real)
    assert np.all((multiplier >= 2**30) & (multiplier < 2**31))
    assert np.all(np.abs(multiplier * 2.0 ** (shift - 31.0) / real - 1) <= 2.0**-31)


def test_multiplier_at_the_edges():
    assert [int(v) for v in kernels.quantized_multiplier(0.0)] == [0, 0]
    assert [int(v) for v in kernels.quantized_multiplier(1.0)] == [2**30, 1]
    assert [int(v) for v in kernels.quantized_multiplier(1 - 2.0**-40)] == [2**30, 1]  # rounds up to 1.0
    assert [int(v) for v in kernels.quantized_multiplier(2.0**-40)] == [0, 0]
    for bad in (-1.0, np.nan, np.inf):
        with pytest.raises(ValueError, match="ratio of scales"):
            kernels.quantized_multiplier(bad)


def slowly(x: int, multiplier: int, shift: int) -> int:
    """Definition, one number at a time with Python's unlimited integers: two roundings."""
    from fractions import Fraction
    from math import floor

    high = floor(Fraction(x * 2 ** max(shift, 0) * multiplier, 2**31) + Fraction(1, 2))
    rest = Fraction(high, 2 ** max(-shift, 0))
    return floor(rest + Fraction(1, 2)) if rest >= 0 else -floor(-rest + Fraction(1, 2))


@pytest.mark.parametrize("seed", SEEDS)
def test_fixed_point_product_is_its_definition_and_within_one_of_the_exact_one(seed):
    rng = np.random.default_rng(seed)
    x = rng.integers(-(2**24), 2**24, 500)
    real = 2.0 ** rng.uniform(-24, 3, 500)
    multiplier, shift = kernels.quantized_multiplier(real)
    result = kernels.multiply_by_quantized_multiplier(x, multiplier, shift)
    assert list(result) == [slowly(int(a), int(m), int(s)) for a, m, s in zip(x, multiplier, shift, strict=True)]
    exact = x * real
    assert np.all(np.abs(result - exact) <= 1 + np.abs(exact) * 2.0**-30)


def test_rounding_twice_misses_the_nearest_integer():
    """127 / 256 = 0.496: the first rounding makes it 64 / 128, the second makes that 1."""
    multiplier, shift = kernels.quantized_multiplier(1 / 256)
    assert int(kernels.high_mul(127, multiplier)) == 64
    assert int(kernels.multiply_by_quantized_multiplier(127, multiplier, shift)) == 1
    assert int(kernels.multiply_by_quantized_multiplier(-127, multiplier, shift)) == 0  # -63.5 goes up to -63


def test_division_by_a_power_of_two_rounds_ties_away_from_zero():
    halves = np.array([-3, -2, -1, 0, 1, 2, 3])
    assert list(kernels.rounding_divide_by_power_of_two(halves, 1)) == [-2, -1, -1, 0, 1, 1, 2]
    assert list(kernels.rounding_divide_by_power_of_two(halves, 0)) == list(halves)
    assert int(kernels.high_mul(-(2**31), -(2**31))) == 2**31 - 1  # the one product that saturates


# ---------------------------------------------------------------- layers against their definition


def parameters(rng: np.random.Generator, channels: int, per_channel: bool, axis: int):
    """Quantizations of an input, of weights and of an output that fits the sums."""
    x_q = QuantizationParameters(rng.uniform(0.01, 0.1), int(rng.integers(-128, 128)))
    scale = rng.uniform(0.001, 0.01, channels) if per_channel else rng.uniform(0.001, 0.01)
    w_q = QuantizationParameters(scale, np.zeros(np.shape(scale), int), -127, 127, axis if per_channel else None)
    return x_q, w_q, QuantizationParameters(rng.uniform(0.1, 1.0), int(rng.integers(-128, 128)))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("activation", [None, "relu", "relu6"])
def test_dense_is_near_the_real_matrix_product(seed, per_channel, activation):
    rng = np.random.default_rng(seed)
    x, weights = rng.integers(-128, 128, (20, 33), np.int8), rng.integers(-127, 128, (9, 33), np.int8)
    bias = rng.integers(-500, 500, 9, np.int32)
    x_q, w_q, y_q = parameters(rng, 9, per_channel, 0)
    steps = np.float64(x_q.scale) * np.float64(w_q.scale)
    real = np.float64(q.dequantize(x, x_q)) @ q.dequantize(weights, w_q).T.astype(np.float64) + bias * steps
    real = real if activation is None else np.clip(real, 0, 6 if activation == "relu6" else None)
    for fixed_point in (False, True):
        y = kernels.dense(x, weights, bias, x_q, w_q, y_q, activation, fixed_point=fixed_point)
        assert y.dtype == np.int8
        assert np.abs(y.astype(int) - q.quantize(real, y_q)).max() <= 1


def loops(x, filters, bias, x_q, w_q, y_q, strides, padding, dilation, depthwise):
    """A convolution as TF Lite's reference kernel runs it: seven nested loops."""
    out, height, width = (filters.shape[-1] if depthwise else filters.shape[0]), *filters.shape[1:3]
    reach = [d * (s - 1) + 1 for s, d in zip((height, width), dilation, strict=True)]
    if padding == "same":
        shape = [-(-n // s) for n, s in zip(x.shape[1:3], strides, strict=True)]
        before = [
            max((n - 1) * s + r - size, 0) // 2
            for n, s, r, size in zip(shape, strides, reach, x.shape[1:3], strict=True)
        ]
    else:
        shape, before = [(n - r) // s + 1 for n, r, s in zip(x.shape[1:3], reach, strides, strict=True)], [0, 0]
    total = np.zeros((len(x), *shape, out), np.int64)
    for n, i, j, c in np.ndindex(total.shape):
        for a, b in np.ndindex(height, width):
            row, column = i * strides[0] - before[0] + a * dilation[0], j * strides[1] - before[1] + b * dilation[1]
            if not (0 <= row < x.shape[1] and 0 <= column < x.shape[2]):
                continue
            centred = x[n, row, column].astype(int) - int(x_q.zero_point)
            if depthwise:
                total[n, i, j, c] += centred[c // (out // x.shape[-1])] * int(filters[0, a, b, c])
            else:
                depth = filters.shape[-1]
                group = c // (out // (x.shape[-1] // depth))
                total[n, i, j, c] += centred[group * depth : (group + 1) * depth] @ filters[c, a, b].astype(int)
    return kernels.requantize(total + bias, np.float64(x_q.scale) * np.float64(w_q.scale) / np.float64(y_q.scale), y_q)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize(
    ("strides", "dilation", "groups"),
    [((1, 1), (1, 1), 1), ((2, 1), (1, 1), 2), ((1, 3), (1, 1), 1), ((1, 1), (2, 1), 1)],
)
def test_convolution_is_its_seven_loops(seed, padding, strides, dilation, groups):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (2, 7, 6, 4), np.int8)
    filters, bias = rng.integers(-127, 128, (6, 3, 2, 4 // groups), np.int8), rng.integers(-900, 900, 6, np.int32)
    x_q, w_q, y_q = parameters(rng, 6, seed % 2 == 0, 0)
    ours = kernels.conv2d(x, filters, bias, x_q, w_q, y_q, strides=strides, padding=padding, dilation=dilation)
    assert np.array_equal(ours, loops(x, filters, bias, x_q, w_q, y_q, strides, padding, dilation, False))


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("repeat", [1, 2])
def test_depthwise_convolution_is_its_loops(seed, padding, repeat):
    rng = np.random.default_rng(seed)
    x = rng.integers(-128, 128, (2, 6, 7, 3), np.int8)
    filters = rng.integers(-127, 128, (1, 3, 3, 3 * repeat), np.int8)
    bias = rng.integers(-900, 900, 3 * repeat, np.int32)
    x_q, w_q, y_q = parameters(rng, 3 * repeat, seed % 2 == 0, 3)
    ours = kernels.depthwise_conv2d(x, filters, bias, x_q, w_q, y_q, strides=(2, 2), padding=padding)
    assert np.array_equal(ours, loops(x, filters, bias, x_q, w_q, y_q, (2, 2), padding, (1, 1), True))


def test_sums_in_float64_are_exact():
    """The largest sum that fits into the accumulator, and one more product, which is an error."""
    x_q, w_q, y_q = QuantizationParameters(1.0, -128), QuantizationParameters(1.0, 0), QuantizationParameters(1e6, 0)
    depth = (2**31 - 1) // (255 * 127)
    x, weights = np.full((1, depth), 127, np.int8), np.full((1, depth), 127, np.int8)
    assert int(kernels.dense(x, weights, None, x_q, w_q, y_q)[0, 0]) == round(depth * 255 * 127 / 1e6) - 2147 + 127
    with pytest.raises(OverflowError, match="int32"):
        kernels.dense(
            np.pad(x, ((0, 0), (0, 1)), mode="edge"),
            np.pad(weights, ((0, 0), (0, 1)), mode="edge"),
            None,
            x_q,
            w_q,
            y_q,
        )


def test_softmax_is_near_the_real_one():
    x = np.random.default_rng().integers(-128, 128, (200, 11), np.int8)
    for scale in (0.003, 0.1, 1.7):
        real = np.exp(np.float64(scale) * x)
        ours = kernels.softmax(x, QuantizationParameters(scale, 5)).astype(int) + 128
        assert np.abs(ours - 256 * real / real.sum(-1, keepdims=True)).max() <= 1.01


def one(zero_point: int) -> QuantizationParameters:
    return QuantizationParameters(1.0, zero_point)


def each(count: int, axis: int) -> QuantizationParameters:
    return QuantizationParameters(np.ones(count), np.zeros(count, int), axis=axis)


def picture(x: np.ndarray, channels: int = 1) -> np.ndarray:
    return x.reshape(1, -1, 2 // min(channels, 2), channels)


def filters(w: np.ndarray) -> np.ndarray:
    return w[:, :1].reshape(-1, 1, 1, 1)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda x, w, a: kernels.dense(x.astype(float), w, None, a, a, a), TypeError, "takes integers"),
        (lambda x, w, a: kernels.dense(x, w[:, :3], None, a, a, a), ValueError, "4 inputs, the weights are for 3"),
        (lambda x, w, a: kernels.conv2d(x, w, None, a, a, a), ValueError, "conv2d takes"),
        (
            lambda x, w, a: kernels.conv2d(x.reshape(1, 1, 1, 8), np.ones((1, 1, 1, 3), np.int8), None, a, a, a),
            ValueError,
            "8 channels, the filters 3",
        ),
        (
            lambda x, w, a: kernels.conv2d(x.reshape(1, 2, 2, 2), np.ones((1, 3, 3, 2), np.int8), None, a, a, a),
            ValueError,
            "does not fit into a picture",
        ),
        (
            lambda x, w, a: kernels.max_pool(x.reshape(1, 2, 2, 2), (2, 2), a, strides=(1, 1), padding="full"),
            ValueError,
            "'same' or 'valid'",
        ),
        (lambda x, w, a: kernels.dense(x, w, None, a, a, a, "tanh"), ValueError, "tanh"),
        (lambda x, w, a: kernels.hybrid_dense(x, w, 1.0), ValueError, "takes float32 rows.*int8"),
        (lambda x, w, a: kernels.hybrid_dense(np.float32(x), w[:, :3], 1.0), ValueError, "4 inputs, the weights are"),
        (lambda x, w, a: kernels.hybrid_dense(np.float32(x), w * 1.5, 1.0), TypeError, "weights is float64"),
        (lambda x, w, a: kernels.hybrid_dense(np.float32(x), w, 1.0, None, "tanh"), ValueError, "tanh"),
        (lambda x, w, a: kernels.quantize_rows(np.float32(x) * np.nan), ValueError, "largest number must be 0 or"),
        (lambda x, w, a: kernels.dense(x, w, np.full(3, 0.9), a, a, a), TypeError, "bias is float64"),
        (lambda x, w, a: kernels.dense(x.tolist(), w, None, a, a, a), TypeError, "x is list"),
        (lambda x, w, a: kernels.dense(x[0, 0], w, None, a, a, a), ValueError, r"takes x of \(…, inputs\)"),
        (lambda x, w, a: kernels.dense(x, w, None, each(4, 1), a, a), ValueError, "x_q has 4 scales on axis 1"),
        (lambda x, w, a: kernels.dense(x, w, None, a, a, each(3, 1)), ValueError, "y_q has 3 scales"),
        (lambda x, w, a: kernels.dense(x, w[:, :], None, a, each(3, 1), a), ValueError, "output channels are axis 0"),
        (lambda x, w, a: kernels.dense(x, w, None, a, each(2, 0), a), ValueError, "axis 0 has 3 channels.*2 scales"),
        (lambda x, w, a: kernels.conv2d(picture(x), filters(w), None, a, one(5), a), ValueError, "weights have 0"),
        (lambda x, w, a: kernels.conv2d(picture(x), filters(w), np.ones(3), a, a, a), TypeError, "bias is float64"),
        (
            lambda x, w, a: kernels.conv2d(picture(x), filters(w), None, a, a, a, strides=2),
            ValueError,
            "strides of 2; pass",
        ),
        (
            lambda x, w, a: kernels.conv2d(picture(x), filters(w), None, a, a, a, dilation=(1, 0)),
            ValueError,
            r"dilation of \(1, 0\)",
        ),
        (
            lambda x, w, a: kernels.conv2d(picture(x, 4), np.ones((3, 1, 1, 2), np.int8), None, a, a, a),
            ValueError,
            "3 filters cannot be divided among 2 groups",
        ),
        (
            lambda x, w, a: kernels.depthwise_conv2d(picture(x, 4), np.ones((2, 1, 1, 4), np.int8), None, a, a, a),
            ValueError,
            r"\(1, height, width",
        ),
        (
            lambda x, w, a: kernels.depthwise_conv2d(
                picture(x, 4), np.ones((1, 1, 1, 4), np.int8), None, a, each(4, 0), a
            ),
            ValueError,
            "output channels are axis 3",
        ),
        (lambda x, w, a: kernels.depthwise_conv2d(x, w[None, None], None, a, a, a), ValueError, r"got \(2, 4\)"),
        (lambda x, w, a: kernels.max_pool(picture(x) * 0.9, (1, 1), a, strides=(1, 1)), TypeError, "x is float64"),
        (lambda x, w, a: kernels.average_pool(picture(x) * 0.9, (1, 1), a, strides=(1, 1)), TypeError, "x is float64"),
        (lambda x, w, a: kernels.add(x * 0.9, x, a, a, a), TypeError, "a is float64"),
        (lambda x, w, a: kernels.add(x, x * 0.9, a, a, a), TypeError, "b is float64"),
        (lambda x, w, a: kernels.rescale(x * 0.9, a, a), TypeError, "x is float64"),
        (lambda x, w, a: kernels.mean(x * 0.9, [1], a, a), TypeError, "x is float64"),
        (lambda x, w, a: kernels.mean(x, [2], a, a), ValueError, r"axes \[2\].*\(2, 4\)"),
        (lambda x, w, a: kernels.mean(x[:, :0], [1], a, a), ValueError, r"\(2, 0\)"),
        (lambda x, w, a: kernels.softmax(x.astype(np.uint8), a), TypeError, "takes int8.*uint8"),
        (lambda x, w, a: kernels.softmax(x[:, :0], a), TypeError, r"\(2, 0\)"),
        (lambda x, w, a: kernels.quantize_rows(np.float32(x)[:0]), ValueError, "largest number"),
    ],
)
def test_bad_input_is_refused(call, error, message):
    with pytest.raises(error, match=message):
        call(np.ones((2, 4), np.int8), np.ones((3, 4), np.int8), QuantizationParameters(1.0, 0))


# ---------------------------------------------------------------- the hybrid layer, ties and their neighbours included


@st.composite
def rows_with_ties(draw, most_inputs: int = 40):
    """float32 rows whose numbers are whole and half steps of the row's grid, some moved to a neighbouring float."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    inputs, exponent = draw(st.integers(1, most_inputs)), draw(st.integers(-12, 6))
    step = np.float32(2.0**exponent) if draw(st.booleans()) else np.float32(rng.uniform(0.5, 2) * 2.0**exponent)
    below = draw(st.sampled_from([0, 0, 1, 100, 254, 255]) | st.integers(0, 255))  # steps below zero, of 255
    rows = (rng.integers(-2 * below, 2 * (255 - below) + 1, (4, inputs)) / 2).astype(np.float32) * step
    rows[:, rng.integers(inputs)] = np.float32(255 - below) * step
    rows[:, rng.integers(inputs)] = -np.float32(below) * step
    moved = np.nextafter(rows, np.where(rng.integers(0, 2, rows.shape), np.inf, -np.inf).astype(np.float32))
    return np.where((rng.random(rows.shape) < draw(st.sampled_from([0, 0.5, 1]))) & (rows != 0), moved, rows)


portable_build = pytest.mark.skipif(sys.platform == "win32", reason="built by another compiler, with other kernels")


@portable_build
@given(rows_with_ties(), st.integers(0, 2**32), st.sampled_from(list(ACTIVATIONS)), *[st.booleans()] * 3)
def test_hybrid_dense_is_litert_s_kernel_ties_included(x, seed, activation, symmetric, per_channel, with_bias):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-127, 128, (5, x.shape[1]), np.int8)
    scales = rng.uniform(1e-3, 1e-2, 5 if per_channel else 1).astype(np.float32)
    bias = rng.normal(size=5).astype(np.float32) if with_bias else None
    theirs = by_hand.reference_tensors(dense_file(weights, scales, bias, activation, symmetric=symmetric), x)["y"]
    ours = kernels.hybrid_dense(x, weights, scales, bias, activation, symmetric=symmetric)
    assert ours.dtype == np.float32
    # fused multiply-add, on Arm, leaves out the product's own rounding
    assert np.all(np.abs(ours - theirs) <= (0 if _x86() else np.spacing(np.abs(ours) + np.abs(bias).max(initial=0))))


@portable_build
@given(rows_with_ties(), st.booleans())
def test_the_integers_of_a_row_are_the_kernel_s(x, symmetric):
    """Weights of the unit matrix bring every integer to the output: no sum, nothing to fuse, on any processor."""
    one = np.eye(x.shape[1], dtype=np.int8)
    theirs = by_hand.reference_tensors(dense_file(one, np.ones(1, np.float32), symmetric=symmetric), x)["y"]
    integers, scale, zero = kernels.quantize_rows(x, symmetric=symmetric)
    assert np.array_equal((integers - zero).astype(np.float32) * scale, theirs)


def portable_rows(x: np.ndarray) -> np.ndarray:
    """PortableAsymmetricQuantizeFloats, without vectors: range in float64, zero point added before rounding."""
    low, high = np.float64(np.minimum(x.min(1, keepdims=True), 0)), np.float64(np.maximum(x.max(1, keepdims=True), 0))
    step = np.where(low == high, 1, (high - low) / 255)
    zero = np.clip(q.round_half_away(kernels._real_zero(low, high, step)), -128, 127)
    moved = zero.astype(np.float32) + x * (np.float32(1) / step.astype(np.float32))
    return np.where(low == high, 0, np.clip(q.round_half_away(moved), -128, 127) - zero)


@given(rows_with_ties(), st.floats(-0.01, 0.01))
def test_rows_that_are_not_near_a_tie_are_rounded_alike_by_every_known_kernel(x, off):
    x = x * np.float32(1 + off)
    away = ~kernels.near_tie(x)
    integers, _, zero = kernels.quantize_rows(x)
    assert np.array_equal((integers - zero)[away], portable_rows(x)[away])


def test_near_tie_finds_ties_and_only_those():
    x = np.array(
        [[255, 1, 2], [255, 1.5, 2], [255, 1.50001, 2], [255, 1.51, 2], [-100.5, 154.5, 0], [0, 0, 0]], np.float32
    )
    assert kernels.near_tie(x).tolist() == [False, True, True, False, True, False]


def test_rows_are_quantized_each_by_its_own_range():
    x = np.array([[0, 51, 255], [-1, 0, 1.55], [0, 0, 0], [-510, -2, 0]], np.float32)
    integers, scale, zero = kernels.quantize_rows(x)
    assert integers.tolist() == [[-128, -77, 127], [-128, -28, 127], [0, 0, 0], [-128, 126, 127]]
    assert scale.ravel().tolist() == pytest.approx([1, 0.01, 1, 2]) and zero.ravel().tolist() == [-128, -28, 0, 127]
    integers, scale, zero = kernels.quantize_rows(x, symmetric=True)
    assert integers[:, -1].tolist() == [127, 127, 0, 0] and not zero.any()


def _x86() -> bool:
    import platform

    return platform.machine().lower() in ("x86_64", "amd64")


def test_what_pads_a_max_pool_is_never_the_largest():
    """TF Lite's windows end at the picture's edge: with values below the zero point the padding must not win."""
    x = np.full((1, 3, 3, 1), -50, np.int8)
    at = QuantizationParameters.of_type(0.5, 7, "int8")
    pooled = kernels.max_pool(x, (2, 2), at, strides=(2, 2), padding="same")
    assert pooled.shape == (1, 2, 2, 1) and (pooled == -50).all()
