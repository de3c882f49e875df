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


@pytest.mark.parametrize("low, high", [(0.5, 2.0), (-2.0, -1.0), (0.0, 0.0), (1.0, -1.0)])
def test_fake_quantize_refuses_a_range_without_zero(low, high):
    with pytest.raises(ValueError, match="must contain 0"):
        fq.fake_quantize([0.1], low, high)


@pytest.mark.parametrize("bits", [1, 17, 8.0, True, "8", None])
def test_fake_quantize_refuses_bad_bits(bits):
    with pytest.raises(ValueError, match="from 2 to 16"):
        fq.fake_quantize([0.1], -1.0, 1.0, bits)
