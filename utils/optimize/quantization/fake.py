"""Fake quantization by hand: round to the grid, stay in float, and let gradients pass.

Fake quantization: Jacob et al. 2018, arXiv 1712.05877.  Straight-through estimator: Bengio, Léonard, Courville 2013,
arXiv 1308.3432.  `aware.quantize_aware` puts the Toolkit's version of it into a whole model.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable

import numpy as np
import tensorflow as tf

__all__ = ["check_bits", "fake_quantize", "value_and_gradients"]


def fake_quantize(x, low, high, bits: int = 8, *, narrow: bool = False) -> tf.Tensor:
    """Round x to the grid of [low, high] and stay in float; let gradients pass as if nothing had been rounded.

    Forward: the range is moved a little so that 0.0 lies on the grid ("nudged", Jacob et al. 2018, section 3),
    x is clamped to it and rounded.  Backward, the straight-through estimator, with the moved range's ends:

        d/dx    = 1 from end to end, both included, 0 outside   (rounding counts as the identity)
        d/dlow  = sum of the gradients of all x below           (they were set to the lower end)
        d/dhigh = sum of the gradients of all x above

    Equal to `tf.quantization.fake_quant_with_min_max_vars` in numbers and gradients, half-way between two steps and on
    the ends too: it computes in the order of the kernel, tensorflow/core/kernels/fake_quant_ops_functor.h.

    x: float32, any shape.
    low, high: range, two numbers; low ≤ 0 ≤ high and low < high.
    bits: 2 to 16, so 2**bits grid points.  narrow: one point fewer, as for symmetric weights.
    """
    check_bits(bits, top=16)
    lowest, highest = float(bool(narrow)), float(2**bits - 1)  # the integers, counted from 0 or 1

    @tf.custom_gradient
    def rounded(x, low, high):
        scale = (high - low) / (highest - lowest)
        zero_point = tf.clip_by_value(tf.floor(lowest - low / scale + 0.5), lowest, highest)
        bottom = (lowest - zero_point) * scale  # the range is moved, so that 0.0 is on the grid
        top = (highest - zero_point) * scale
        clamped = tf.maximum(tf.minimum(x, top), bottom)
        steps_to_zero = tf.floor(-bottom * ((highest - lowest) / (high - low)) + 0.5)
        steps = tf.floor((clamped - bottom) / scale - steps_to_zero + 0.5)  # a tie goes up

        def gradient(upstream):
            below = tf.where(x < bottom, upstream, 0.0)
            above = tf.where(x > top, upstream, 0.0)
            inside = tf.where((x < bottom) | (x > top), 0.0, upstream)
            return inside, tf.reduce_sum(below), tf.reduce_sum(above)

        return steps * scale, gradient

    x, low, high = (tf.convert_to_tensor(value, tf.float32) for value in (x, low, high))
    if low.shape.rank or high.shape.rank:
        raise ValueError(f"the ends of the range have the shapes {low.shape} and {high.shape}; pass two numbers")
    if not tf.executing_eagerly() or (low <= 0 <= high and low < high and tf.math.is_finite(high - low)):
        return rounded(x, low, high)
    raise ValueError(f"the range is [{float(low):g}, {float(high):g}]; it must contain 0, be finite and wider than 0")


def value_and_gradients(function: Callable, x, low: float, high: float, bits: int, upstream=None) -> list[np.ndarray]:
    """[y, dx, dlow, dhigh] of y = function(x, low, high, bits).  Compares ways to compute fake quantization.

    upstream: the gradient that arrives at y; None takes sin(x), which differs from number to number, so that swapped
    or averaged gradients show.
    """
    arguments = [tf.convert_to_tensor(value, tf.float32) for value in (x, low, high)]
    with tf.GradientTape() as tape:
        tape.watch(arguments)
        y = function(*arguments, bits)
    arriving = tf.sin(arguments[0]) if upstream is None else upstream * tf.ones_like(y)
    gradients = tape.gradient(y, arguments, output_gradients=arriving)
    return [y.numpy(), *(gradient.numpy() for gradient in gradients)]


def check_bits(bits: object, top: int) -> int:
    """`bits` if it is a whole number from 2 to `top`, else a ValueError that says so."""
    if isinstance(bits, bool) or not isinstance(bits, numbers.Integral) or not 2 <= bits <= top:
        raise ValueError(f"bits is {bits!r}; pass a whole number from 2 to {top}")
    return int(bits)
