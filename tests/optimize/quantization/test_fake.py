"""Fake quantization by hand against TensorFlow's own operator, forwards and backwards."""

import numpy as np
import pytest
import tensorflow as tf

from utils.optimize.quantization import fake as fq


@pytest.mark.parametrize(
    "bits, low, high, narrow",
    [
        (8, -1.3, 2.1, False),
        (8, -1.0, 1.0, True),
        (4, -1.3, 2.1, False),
        (3, 0.0, 3.0, False),
        (2, -1.0, 1.0, True),
        (5, -2.5, 0.0, False),
        (16, -0.2, 7.9, False),
    ],
)
def test_fake_quantize_equals_tensorflows_forwards_and_backwards(bits, low, high, narrow):
    x = np.random.default_rng(bits).normal(0, 2, 2000).astype(np.float32)
    theirs = tf.quantization.fake_quant_with_min_max_vars
    results = [
        fq.value_and_gradients(lambda x, lo, hi, b, f=f, k=k: f(x, lo, hi, b, **{k: narrow}), x, low, high, bits)
        for f, k in ((fq.fake_quantize, "narrow"), (theirs, "narrow_range"))
    ]
    step = (high - low) / (2**bits - 1)
    for ours, tensorflows in zip(*results, strict=True):
        assert np.allclose(ours, tensorflows, rtol=1e-4, atol=1e-6 + 0.01 * step * (np.ndim(ours) > 0))


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 8, 16])
@pytest.mark.parametrize("low, high", [(-1.0, 1.0), (-1.3, 2.1), (0.0, 3.0), (-2.5, 0.0), (-0.0071, 40.0)])
def test_gradients_equal_tensorflows_on_the_ends_and_beside_them(low, high, bits, narrow):
    theirs = tf.quantization.fake_quant_with_min_max_vars
    ends = theirs([-1e9, 1e9, 0.0], low, high, bits, narrow).numpy()  # where it clamps to, and 0
    x = np.concatenate([ends, [low, high], np.linspace(2 * low - 1, 2 * high + 1, 41)]).astype(np.float32)
    x = np.concatenate([np.nextafter(x, np.float32(-np.inf)), x, np.nextafter(x, np.float32(np.inf))])
    upstream = np.arange(1.0, len(x) + 1).astype(np.float32)  # whole numbers: their sums have no rounding
    _, *ours = fq.value_and_gradients(lambda *a: fq.fake_quantize(*a, narrow=narrow), x, low, high, bits, upstream)
    _, *tensorflows = fq.value_and_gradients(lambda *a: theirs(*a, narrow_range=narrow), x, low, high, bits, upstream)
    for a, b in zip(ours, tensorflows, strict=True):
        np.testing.assert_array_equal(a, b)
    on_the_ends = np.isin(x, ends)
    assert np.array_equal(ours[0][on_the_ends], upstream[on_the_ends])  # an end counts as inside
    assert ours[1] > 0 and ours[2] > 0


@pytest.mark.parametrize("narrow", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 8])
def test_beside_a_tie_x_goes_to_the_nearer_step_and_zero_stays_zero(bits, narrow):
    steps = np.arange(-2 if narrow else -3, 2) + 0.5
    step = 2.0 / (2**bits - 1 - narrow)
    zero = fq.fake_quantize(0.0, -1.0, 1.0, bits, narrow=narrow)
    assert float(zero) == 0.0
    for side in (-1, 1):
        x = np.clip((steps + side * 0.01) * step, -1 + step, 1 - step)
        y = fq.fake_quantize(x, -1.0, 1.0, bits, narrow=narrow).numpy()
        assert np.all(np.abs(y - x) <= 0.501 * step)


def test_what_is_not_passed():
    x = np.linspace(-1.2, 1.2, 41)
    plain = fq.fake_quantize(x, -1.0, 1.0).numpy()
    assert np.array_equal(plain, fq.fake_quantize(x, -1.0, 1.0, 8, narrow=False).numpy())
    assert not np.array_equal(plain, fq.fake_quantize(x, -1.0, 1.0, 8, narrow=True).numpy())


def test_the_range_gradients_are_sums_over_what_was_clipped():
    low, high = tf.constant(-1.0), tf.constant(1.0)
    with tf.GradientTape() as tape:
        tape.watch([low, high])
        y = fq.fake_quantize([-3.0, -2.0, 0.1, 5.0], low, high, 8, narrow=True)
        loss = tf.reduce_sum(y * [1.0, 10.0, 100.0, 1000.0])
    assert [float(g) for g in tape.gradient(loss, [low, high])] == [11.0, 1000.0]


def test_the_upstream_gradient_is_handed_on():
    y, dx, dlow, dhigh = fq.value_and_gradients(fq.fake_quantize, [-5.0, 0.3, 0.9, 5.0], -1.0, 1.0, 3, upstream=2.0)
    assert dx.tolist() == [0, 2, 2, 0] and dlow == dhigh == 2
    assert y.tolist() == sorted(y.tolist()) and len(set(y.tolist())) == 4


@pytest.mark.parametrize("low, high", [(-1.0, float("inf")), (float("-inf"), 1.0), (float("nan"), 1.0), (-3e38, 3e38)])
def test_fake_quantize_refuses_a_range_that_has_no_finite_width(low, high):
    with pytest.raises(ValueError, match="be finite"):
        fq.fake_quantize([0.1], low, high)


def test_fake_quantize_takes_one_range():
    with pytest.raises(ValueError, match=r"shapes \(2,\) and \(\); pass two numbers"):
        fq.fake_quantize([0.1, 0.2], [-1.0, -2.0], 1.0)


@pytest.mark.parametrize("low, high", [(0.5, 2.0), (-2.0, -1.0), (0.0, 0.0), (1.0, -1.0)])
def test_fake_quantize_refuses_a_range_without_zero(low, high):
    with pytest.raises(ValueError, match="must contain 0"):
        fq.fake_quantize([0.1], low, high)


@pytest.mark.parametrize("bits", [1, 17, 8.0, True, "8", None])
def test_fake_quantize_refuses_bad_bits(bits):
    with pytest.raises(ValueError, match="from 2 to 16"):
        fq.fake_quantize([0.1], -1.0, 1.0, bits)


def test_upstream_is_a_sine_of_x_unless_it_is_passed():
    x = np.array([-5.0, 0.3, 0.9], np.float32)
    _, dx, dlow, dhigh = fq.value_and_gradients(fq.fake_quantize, x, -1.0, 1.0, 3)
    assert dx == pytest.approx([0, np.sin(0.3), np.sin(0.9)]) and dlow == pytest.approx(np.sin(-5.0)) and dhigh == 0


@pytest.mark.parametrize("top", [8, 16])
def test_bits_are_whole_and_from_two_to_the_top(top):
    assert [fq.check_bits(bits, top) for bits in (2, np.int64(top))] == [2, top]
    for bits in (1, top + 1, 4.0, True, "4", None):
        with pytest.raises(ValueError, match=f"pass a whole number from 2 to {top}"):
            fq.check_bits(bits, top)
