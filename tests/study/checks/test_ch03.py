"""The checks of chapter 03 accept right answers and name the misconception of wrong ones."""

import re

import numpy as np
import pytest

from tests.study.checks import answers
from utils.study.exercises import grade


def right_quantize(x, bits):
    low, high, qmin, qmax = min(x.min(), 0), max(x.max(), 0), -(2 ** (bits - 1)), 2 ** (bits - 1) - 1
    scale = (high - low) / (2**bits - 1)
    zero = int(np.round(qmin - low / scale))
    return np.clip(np.round(x / scale) + zero, qmin, qmax).astype(np.min_scalar_type(qmin)), scale, zero


def right_scales(w, axis):
    return np.abs(w).max(axis=tuple(i for i in range(w.ndim) if i != axis)) / 127


def right_dense(x, x_zero, w, bias, ratio, y_zero):
    total = (x.astype(int) - x_zero) @ w.astype(int).T + bias
    return np.clip(np.round(total * ratio) + y_zero, -128, 127).astype(np.int8)


def fixed_point_dense(x, x_zero, w, bias, ratio, y_zero):
    from utils.optimize.quantization.integer_kernels import multiply_by_quantized_multiplier, quantized_multiplier

    total = (x.astype(np.int32) - x_zero) @ w.astype(np.int32).T + bias
    scaled = multiply_by_quantized_multiplier(total, *quantized_multiplier(ratio))
    return np.clip(scaled + y_zero, -128, 127).astype(np.int8)


def right_roofline(macs, size, macs_per_second, bytes_per_second):
    arithmetic, memory = macs / macs_per_second, size / bytes_per_second
    return (arithmetic, "arithmetic") if arithmetic > memory else (memory, "memory")


def stub(*arguments): ...


def quantized(scale=None, zero=None, integers=None):
    """`right_quantize` with one part replaced."""

    def answer(x, bits):
        q, s, z = right_quantize(x, bits)
        s = s if scale is None else scale(x, bits)
        z = z if zero is None else zero(x, bits, s)
        return (q if integers is None else integers(x, bits, s, z)), s, z

    return answer


def whole(x):
    return x.astype(int)


def limits(bits):
    return -(2 ** (bits - 1)), 2 ** (bits - 1) - 1


def beside(integers):
    """One of them is off by one."""
    wrong = integers.astype(int)
    wrong.flat[np.argmin(np.abs(wrong))] += 1
    return wrong


def off(count, by=1):
    """So many of the quantized numbers, those nearest to 0, are off."""

    def answer(x, bits):
        integers, scale, zero = right_quantize(x, bits)
        integers = integers.astype(int)
        integers[np.argsort(np.abs(integers))[:count]] += by
        return integers, scale, zero

    return answer


WRONG = [
    (
        "03-1",
        quantized(zero=lambda x, b, s: -(2 ** (b - 1)) - min(x.min(), 0) / s + 0.25),
        "integer grid then misses 0.0",
    ),
    ("03-1", quantized(scale=lambda x, b: (x.max() - x.min()) / (2**b - 1)), "must include 0"),
    ("03-1", quantized(scale=lambda x, b: (max(x.max(), 0) - min(x.min(), 0)) / 2**b), "there are .* steps"),
    ("03-1", quantized(scale=lambda x, b: np.abs(x).max() / (2 ** (b - 1) - 1)), "symmetric scale"),
    ("03-1", quantized(integers=lambda x, b, s, z: whole(np.floor(x / s)) + z), "cuts off the fraction|clip"),
    (
        "03-1",
        quantized(integers=lambda x, b, s, z: np.clip(whole(x / s) + z, -(2 ** (b - 1)), 2 ** (b - 1) - 1)),
        "cuts off",
    ),
    ("03-1", quantized(integers=lambda x, b, s, z: x / s + z), "no whole numbers"),
    ("03-1", quantized(integers=lambda x, b, s, z: right_quantize(x, b)[0].astype(np.int8)), "do not fit into int8"),
    ("03-1", quantized(integers=lambda x, b, s, z: np.round(x / s) + z + 2 ** (b - 1)), "signed .* end there"),
    ("03-1", lambda x, b: right_quantize(x, b)[0], "return .integers, scale, zero_point"),
    ("03-2", lambda w, axis: np.abs(w).max() / 127, "one scale for the whole tensor"),
    ("03-2", lambda w, axis: np.abs(w).max(axis=axis) / 127, "all axes .but. it"),
    ("03-2", lambda w, axis: right_scales(w, axis) * 127 / 128, "divide by 128"),
    ("03-2", lambda w, axis: w.max(axis=tuple(i for i in range(4) if i != axis)) / 127, "absolute"),
    ("03-2", lambda w, axis: np.ptp(w, axis=tuple(i for i in range(4) if i != axis)) / 255, "asymmetric"),
    ("03-2", lambda w, axis: right_scales(w, 3), "need . scales|first scale"),
    ("03-3", lambda x, xz, w, b, r, yz: right_dense(x, 0, w, b, r, yz), "subtract the input's zero point"),
    ("03-3", lambda x, xz, w, b, r, yz: right_dense(x, xz, w, 0, r, yz), "bias is missing"),
    (
        "03-3",
        lambda x, xz, w, b, r, yz: np.clip(right_dense(x, xz, w, 0, r, 0) + b.astype(float) + yz, -128, 127),
        "after scaling",
    ),
    ("03-3", lambda x, xz, w, b, r, yz: right_dense(x, xz, w, b, r, 0), "output's zero point"),
    (
        "03-3",
        lambda x, xz, w, b, r, yz: np.clip(np.round(((x - np.int8(xz)) @ w.T + b) * r) + yz, -128, 127),
        "ran in int8",
    ),
    (
        "03-3",
        lambda x, xz, w, b, r, yz: (
            (np.round(((x.astype(int) - xz) @ w.astype(int).T + b) * r) + yz).astype(int).astype(np.int8)
        ),
        "wrapped around to -128",
    ),
    ("03-3", lambda x, xz, w, b, r, yz: np.round(((x.astype(int) - xz) @ w.astype(int).T + b) * r) + yz, "clip them"),
    (
        "03-3",
        lambda x, xz, w, b, r, yz: np.clip(whole((((x.astype(int) - xz) @ w.astype(int).T) + b) * r) + yz, -128, 127),
        "cut off the fraction",
    ),
    ("03-3", lambda x, xz, w, b, r, yz: right_dense(x, xz, w, b, r, yz).T, "shape"),
    ("03-3", lambda x, xz, w, b, r, yz: np.zeros((16, 8)), "should be"),
    ("03-3", lambda x, xz, w, b, r, yz: beside(right_dense(x, xz, w, b, r, yz)), "should be"),
    ("03-1", quantized(integers=lambda x, b, s, z: beside(right_quantize(x, b)[0])), "one step away|clip them"),
    (
        "03-1",
        quantized(integers=lambda x, b, s, z: np.clip(whole(np.round(x / s + z + 0.02)), *limits(b))),
        "one step away|cuts off",
    ),
    ("03-2", lambda w, axis: right_scales(w, axis) * 1.001, "first scale"),
    ("03-4", lambda m, s, p, b: (m / p + s / b, right_roofline(m, s, p, b)[1]), "the longer one decides"),
    ("03-4", lambda m, s, p, b: (min(m / p, s / b), right_roofline(m, s, p, b)[1]), "shorter"),
    ("03-4", lambda m, s, p, b: (max(m / p, 8 * s / b), right_roofline(m, 8 * s, p, b)[1]), "by 8"),
    ("03-4", lambda m, s, p, b: (max(m / p, s / 4 / b), right_roofline(m, s, p, b)[1]), "divide the bytes by 4"),
    ("03-4", lambda m, s, p, b: (m / s, "memory"), "operations for each byte"),
    ("03-4", lambda m, s, p, b: (p / m, "memory"), "not the other way round"),
    ("03-4", lambda m, s, p, b: (m / p, "arithmetic"), "at least|shorter"),
    ("03-4", lambda m, s, p, b: (right_roofline(m, s, p, b)[0], "memory"), "so arithmetic decides"),
    ("03-4", lambda m, s, p, b: (right_roofline(m, s, p, b)[0] * 1.01, right_roofline(m, s, p, b)[1]), "at least"),
    ("03-4", lambda m, s, p, b: right_roofline(m, s, p, b)[0], "return .seconds"),
    ("03-1", quantized(integers=lambda x, b, s, z: right_quantize(x, b)[0].astype(int) - 1), "integers lie below"),
    ("03-1", quantized(zero=lambda x, b, s: right_quantize(x, b)[2] + 1), "0.0 belongs to the integer"),
    ("03-1", off(8), "[1-8] of 200 integers are one step away"),
    ("03-1", off(28), "most integers are one off"),
    ("03-1", off(1, by=-3), "some integers are 3 steps away"),
    ("03-2", lambda w, axis: right_scales(w, axis) * np.where(np.arange(w.shape[axis]), 1, -1), "above 0"),
    ("03-2", lambda w, axis: np.full(w.shape[axis], np.abs(w).max() / 127), "first scale"),
    ("03-2", lambda w, axis: right_scales(w, axis)[:-1], "need . scales"),
    ("03-4", lambda m, s, p, b: (right_roofline(m, s, p, b)[0], "arithmetic"), "so memory decides"),
    ("03-4", lambda m, s, p, b: (b / s, "memory"), "not the other way round"),
]


RIGHT = [
    ("03-1", right_quantize),
    ("03-2", right_scales),
    ("03-3", right_dense),
    ("03-3", fixed_point_dense),
    ("03-4", right_roofline),
    ("03-2", lambda w, axis: np.abs(w).max(axis=tuple(i for i in range(4) if i != axis), keepdims=True) / 127),
    ("03-3", lambda *a: right_dense(*a).astype(float)),
]

test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT)


@pytest.mark.parametrize("repetition", range(5))
@pytest.mark.parametrize(("id", "answer"), RIGHT)
def test_right_answers_are_right(id, answer, repetition):
    assert grade(id, answer).state == "right", grade(id, answer).message


@pytest.mark.parametrize("repetition", range(3))
@pytest.mark.parametrize(("id", "answer", "message"), WRONG)
def test_wrong_answers_name_the_misconception(id, answer, message, repetition):
    verdict = grade(id, answer)
    assert verdict.state == "wrong"
    assert re.search(message, verdict.message), verdict.message


@pytest.mark.parametrize("id", ["03-1", "03-2", "03-3", "03-4"])
def test_a_stub_is_no_error(id):
    assert grade(id, stub).state == "not attempted"


def test_the_numbers_of_the_quiz_are_computed():
    from utils.optimize.quantization.grid import from_range
    from utils.study import quiz

    right = [
        answer["value"]
        for question in quiz.load("03")
        if question["type"] == "numeric"
        for answer in question["answers"]
        if answer.get("correct")
    ]
    assert right == [int(from_range(-2, 6).zero_point), round(1e6 * right_roofline(2e6, 1e6, 40e9, 10e9)[0])]


def test_the_output_that_is_named_is_the_wrong_one():
    told = re.compile(r"output \(\d+, \d+\) should be (-?\d+); you returned (-?\d+)")
    for message in answers.verdicts("03-3", lambda *a: beside(right_dense(*a)), 60):
        should, returned = told.search(message).groups()
        assert int(returned) == int(should) + 1, message
