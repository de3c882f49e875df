"""The checks of chapter 05 accept right answers and name the misconception of wrong ones."""

import numpy as np
import pytest
import tensorflow as tf

import utils  # noqa: F401
from tests.study.checks import answers
from utils.study.checks import ch05
from utils.study.exercises import grade


def right_gradient(x, low, high, upstream):
    below, above = x < low, x > high
    return upstream * ~(below | above), upstream[below].sum(), upstream[above].sum()


def right_folding(kernel, gamma, beta, mean, variance, epsilon):
    factor = gamma / np.sqrt(variance + epsilon)
    return kernel * factor, beta - mean * factor


def half_up(x):
    return tf.floor(x + 0.5)


def right_fake(x, low, high, bits, straight=True, inside=True, nudge=half_up, gaps=0, round=half_up):
    scale = (high - low) / (2**bits - 1 + gaps)
    zero = nudge(-low / scale)
    clipped = tf.clip_by_value(x, -zero * scale, (2**bits - 1 - zero) * scale)
    rounded = (round(clipped / scale + zero) - zero) * scale
    if not straight:
        return rounded
    base = clipped if inside else x
    return base + tf.stop_gradient(rounded - base)


def leaking(x, low, high, bits, share):
    """What is clipped passes a share of the gradient on."""
    value = right_fake(x, low, high, bits)
    return value + share * (x - tf.stop_gradient(x)) - share * (value - tf.stop_gradient(value))


RIGHT = [("05-1", right_gradient), ("05-2", right_folding), ("05-3", right_fake)]


@pytest.mark.parametrize("id", [id for id, _ in RIGHT])
def test_no_answer_at_all_is_not_attempted(id):
    assert grade(id, ...).state == "not attempted"


def gradient(change):
    return lambda *a: change(*a, *right_gradient(*a))


def fold(factor=lambda g, v, e: g / np.sqrt(v + e), bias=lambda b, m, f: b - m * f):
    def answer(kernel, gamma, beta, mean, variance, epsilon):
        f = factor(gamma, variance, epsilon)
        return kernel * f, bias(beta, mean, f)

    return answer


WRONG = [
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (0 * u, a, b)), "true derivative of a staircase"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (u, a, b)), "passes everywhere"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, b, a)), "swapped"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, -a, b)), "wrong sign"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, (x < lo).sum(), (x > hi).sum())), "you counted"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, u[x < lo].mean(), u[x > hi].mean())), "you took means"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, 0, 0)), "could be learnt"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: dx), "three things"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx * (x > lo) * (x < hi), a, b)), "exactly on an end"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, a, b + u[x == hi].sum())), "dlow, dhigh are"),
    ("05-2", lambda *a: right_folding(*a)[0], "two things"),
    ("05-2", fold(lambda g, v, e: g / (v + e)), "square root"),
    ("05-2", fold(lambda g, v, e: g / np.sqrt(v)), "left out epsilon"),
    ("05-2", fold(lambda g, v, e: g / (np.sqrt(v) + e)), "under the root"),
    ("05-2", fold(lambda g, v, e: 1 / np.sqrt(v + e)), "left out gamma"),
    ("05-2", fold(bias=lambda b, m, f: b), "moves the bias too"),
    ("05-2", fold(bias=lambda b, m, f: b - m), "scaled along"),
    ("05-2", fold(bias=lambda b, m, f: b + m * f), "minus in the bias"),
    ("05-3", lambda *a: right_fake(*a, straight=False), "no gradient comes back"),
    ("05-3", lambda *a: right_fake(*a, inside=False), "1 everywhere"),
    ("05-3", lambda *a: right_fake(*a, nudge=lambda x: x), "0.0 is not on your grid"),
    ("05-3", lambda *a: right_fake(*a, gaps=1), "gaps between them"),
    ("05-3", lambda x, low, high, bits: tf.identity(x), "returns x unchanged"),
    ("05-3", lambda *a: right_fake(*a, round=tf.floor), "round down"),
    ("05-3", lambda *a: right_fake(*a, round=tf.round), "half-way"),
    ("05-3", lambda *a: right_fake(*a, nudge=tf.round), "the zero point too"),
    ("05-3", lambda x, low, high, bits: right_fake(tf.clip_by_value(x, low, high), low, high, bits), "moved ends"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx[:-1], a, b)), "dx needs x's shape"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (2 * dx, a, b)), "dx is the upstream gradient inside"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, a, 0)), "dlow, dhigh are"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx, 0, b)), "dlow, dhigh are"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx * (x > lo), a, b)), "exactly on an end"),
    ("05-1", gradient(lambda x, lo, hi, u, dx, a, b: (dx * (x < hi), a, b)), "exactly on an end"),
    ("05-2", lambda k, g, b, m, v, e: right_folding(k, g[::-1], b, m, v, e), "each output channel"),
    ("05-2", lambda *a: (right_folding(*a)[0][0], right_folding(*a)[1]), "keeps its shape"),
    ("05-2", fold(bias=lambda b, m, f: b * f - m * f), "the bias is beta"),
    ("05-3", lambda x, *a: right_fake(x, *a)[:-1], "the shape stays"),
    ("05-3", lambda x, low, high, bits: right_fake(x, low, high, 8), "off the grid"),
    ("05-3", lambda *a: right_fake(*a) * 2, "must be clipped|off the grid"),
    ("05-3", lambda *a: 0.5 * right_fake(*a) + tf.stop_gradient(0.5 * right_fake(*a)), "the gradient is 1"),
    ("05-3", lambda *a: leaking(*a, 0.5), "outside it is 0"),
    ("05-3", lambda x, low, high, bits: leaking(x, low, high, bits, tf.cast(x > high, x.dtype)), "outside it is 0"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT[:2])
test_other_words = answers.other_words(RIGHT[:2])


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_numbers_of_05_3_lie_between_the_ends_and_where_the_zero_point_moves_them(bits):
    low, high = -0.6180339, 1.4142135
    scale = (high - low) / (2**bits - 1)
    moved = -np.round(-low / scale) * scale
    x = ch05._numbers(np.random.default_rng(0), low, high, bits)
    assert x.dtype == np.float32 and len(x) == 320
    for end, other in ((low, moved), (high, moved + high - low)):
        between = np.sort(x[300:][(x[300:] > min(end, other)) & (x[300:] < max(end, other))])
        assert len(between) == 10 and np.ptp(between) == pytest.approx(abs(end - other) * 9 / 11, rel=1e-3)
