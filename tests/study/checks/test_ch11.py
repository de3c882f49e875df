"""The checks of chapter 11 accept right answers and name the misconception of wrong ones."""

import re

import numpy as np
import pytest

from tests.study.checks import answers
from utils.study.exercises import grade


def prepared(pixels, mean, deviation):
    return (np.asarray(pixels, np.float32) / 255 - mean) / deviation


def learning(layers, first, frozen_bn, *, bn=2, bias=True, cut=True, wide=False):
    total = 0
    for kind, i, o, k in layers[first:] if cut else layers:
        sizes = {"conv": k * k * i * o, "depthwise": k * k * i * (i if wide else 1), "dense": i * o + bias * o}
        total += sizes.get(kind, 0 if frozen_bn else bn * i)
    return total


def folded(kernel, bias, gamma, beta, mean, variance, epsilon):
    s = gamma / np.sqrt(variance + epsilon)
    return s[:, None] * kernel, (beta - mean * s) @ kernel + bias


RIGHT = [("11-1", prepared), ("11-2", learning), ("11-3", folded)]
WRONG = [
    ("11-1", lambda p, m, d: (p - m) / d, "divide by 255 first"),
    ("11-1", lambda p, m, d: (p / 255 / 255 - m) / d, "twice"),
    ("11-1", lambda p, m, d: p / 255, "only the division"),
    ("11-1", lambda p, m, d: p / 255 - m, "deviation is missing"),
    ("11-1", lambda p, m, d: p / 255 / d - m, "before you divide"),
    ("11-1", lambda p, m, d: (p / 255 - m.mean()) / d.mean(), "of its own"),
    ("11-1", lambda p, m, d: (p / 255 - m[::-1]) / d[::-1], "BGR"),
    ("11-1", lambda p, m, d: prepared(p, m, d)[0], "shape stays"),
    ("11-2", lambda *a: learning(*a, cut=False), "before `first`"),
    ("11-2", lambda layers, first, frozen: learning(layers, first, False), "ties them"),
    ("11-2", lambda *a: learning(*a, bn=4), "four arrays"),
    ("11-2", lambda *a: learning(*a, bn=0), "factor and shift"),
    ("11-2", lambda *a: learning(*a, bias=False), "bias"),
    ("11-2", lambda *a: learning(*a, wide=True), "one filter a channel"),
    ("11-2", lambda *a: float(learning(*a)), "whole number"),
    ("11-3", lambda k, b, g, be, m, v, e: folded(k, b, g, be, m, v, 0), "infinite"),
    ("11-3", lambda k, b, g, be, m, v, e: ((g / (v + e))[:, None] * k, b), "root of variance"),
    ("11-3", lambda k, b, g, be, m, v, e: ((g / (np.sqrt(v) + e))[:, None] * k, b), "below the root"),
    ("11-3", lambda *a: (folded(*a)[0], a[1]), "shift is missing"),
    ("11-3", lambda k, b, g, be, m, v, e: (folded(k, b, g, be, m, v, e)[0], be @ k + b), "mean is missing"),
    (
        "11-3",
        lambda k, b, g, be, m, v, e: (
            folded(k, b, g, be, m, v, e)[0],
            (be - m * g / np.sqrt(v + e)) @ folded(k, b, g, be, m, v, e)[0] + b,
        ),
        "old kernel",
    ),
    ("11-3", lambda *a: folded(*a)[0], "two arrays"),
    ("11-1", lambda p, m, d: prepared(p, m, d) + 0.01, "this is not .pixels"),
    ("11-2", lambda *a: learning(*a) + 1, "it is"),
    ("11-3", lambda *a: (folded(*a)[0].T, folded(*a)[1]), "the kernel stays"),
    ("11-3", lambda *a: (folded(*a)[0], folded(*a)[1][:1]), "the bias stays"),
    ("11-3", lambda *a: (folded(*a)[0][::-1], folded(*a)[1]), "each row of the kernel"),
    ("11-3", lambda *a: (folded(*a)[0], folded(*a)[1] + 0.1), "this bias does not give"),
    ("11-1", lambda p, m, d: prepared(p, m, d) + 0.00125, "this is not .pixels"),
    ("11-2", lambda layers, first, frozen: learning(layers, 0 if frozen else first, frozen), "."),
]


def stub(*arguments): ...


@pytest.mark.parametrize("id, answer", RIGHT)
def test_the_solution_passes_every_time(id, answer):
    assert [grade(id, answer).state for _ in range(5)] == ["right"] * 5


@pytest.mark.parametrize("id", [id for id, _ in RIGHT])
def test_the_stub_is_not_attempted(id):
    assert grade(id, stub).state == "not attempted"


@pytest.mark.parametrize("id, answer, misconception", WRONG)
def test_a_wrong_answer_is_told_its_misconception(id, answer, misconception):
    verdict = grade(id, answer)
    assert verdict.state == "wrong" and re.search(misconception, verdict.message), verdict


test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT, ["11-2 arrays"])


def test_layers_before_the_first_are_told_when_normalization_is_frozen_too():
    said = set(answers.verdicts("11-2", lambda layers, first, frozen: learning(layers, 0 if frozen else first, frozen)))
    assert said == {"layers before `first` are frozen and do not count"}
