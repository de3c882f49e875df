"""The checks of chapter 01 accept right answers and name the misconception of wrong ones."""

import gzip
import re
from math import comb, erfc

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.study.checks import answers
from utils.study.exercises import grade, hint


def packed(content):
    return len(gzip.compress(content, 9))


def right_ratio(before, after):
    return packed(before) / packed(after)


def right_quantiles(seconds, warmup):
    return np.quantile(seconds[warmup:], [0.5, 0.9, 0.99])


def right_interval(correct, total, z=1.96):
    p = correct / total
    center = (p + z**2 / (2 * total)) / (1 + z**2 / total)
    half = z * (p * (1 - p) / total + z**2 / (4 * total**2)) ** 0.5 / (1 + z**2 / total)
    return center - half, center + half


def right_front(sizes, accuracies):
    points = list(zip(sizes, accuracies, strict=True))
    return [i for i, (s, a) in enumerate(points) if not any(t <= s and b >= a and (t, b) != (s, a) for t, b in points)]


def right_p(only_a, only_b):
    n = only_a + only_b
    return min(1, 2 * sum(comb(n, k) for k in range(min(only_a, only_b) + 1)) / 2**n)


def one_outcome(only_a, only_b):
    return 2 * comb(only_a + only_b, only_a) / 2 ** (only_a + only_b)


def chi_squared(only_a, only_b, correction=0):
    distance = max(abs(only_a - only_b) - correction, 0)
    return erfc((distance**2 / (only_a + only_b) / 2) ** 0.5)


def short_sum(only_a, only_b):
    n = only_a + only_b
    return 2 * sum(comb(n, k) for k in range(min(only_a, only_b))) / 2**n


def wald(correct, total, z=1.96):
    p = correct / total
    half = z * (p * (1 - p) / total) ** 0.5
    return p - half, p + half


def in_place(seconds, warmup):
    answer = right_quantiles(seconds, warmup)
    seconds.sort()
    return answer


def extremes(sizes, accuracies):
    return {int(np.argmin(sizes)), int(np.argmax(accuracies))}


def strict_in_both(sizes, accuracies):
    n = range(len(sizes))
    return [i for i in n if not any(sizes[j] < sizes[i] and accuracies[j] > accuracies[i] for j in n)]


def no_twins(sizes, accuracies):
    n = range(len(sizes))
    return [i for i in n if not any(j != i and sizes[j] <= sizes[i] and accuracies[j] >= accuracies[i] for j in n)]


def one_twin(sizes, accuracies):
    first = {}
    for i in right_front(sizes, accuracies):
        first.setdefault((sizes[i], accuracies[i]), i)
    return list(first.values())


def stub(*arguments): ...


RIGHT = [
    ("01-1", right_ratio),
    ("01-2", right_quantiles),
    ("01-2", lambda s, w: [sorted(s[w:])[int(q * len(s[w:]))] for q in (0.5, 0.9, 0.99)]),
    ("01-3", right_interval),
    ("01-3", lambda c, n: right_interval(c, n, 1.959964)),
    ("01-4", right_front),
    ("01-4", lambda s, a: reversed(right_front(s, a))),
    ("01-5", right_p),
    ("01-5", lambda a, b: binomtest(a, a + b).pvalue if a + b else 1.0),
    *[
        ("01-2", lambda s, w, m=m: np.quantile(s[w:], [0.5, 0.9, 0.99], method=m))
        for m in ("lower", "higher", "nearest", "hazen", "weibull", "median_unbiased", "inverted_cdf")
    ],
    ("01-4", lambda s, a: set(right_front(s, a))),
    ("01-4", lambda s, a: np.array(right_front(s, a))),
    ("01-1", lambda a, b: 1.007 * right_ratio(a, b)),
    ("01-3", lambda c, n: tuple(end - 1.2e-5 for end in right_interval(c, n, 1.959964))),
]

WRONG = [
    ("01-1", lambda a, b: 1 / right_ratio(a, b), "upside down"),
    ("01-1", lambda a, b: len(a) / len(b), "raw files"),
    ("01-1", lambda a, b: len(a) / packed(b), "only the smaller file"),
    ("01-1", lambda a, b: 100 * (1 - packed(b) / packed(a)), "share that is saved"),
    ("01-1", lambda a, b: 3.0, "the ratio is"),
    ("01-2", lambda s, w: (np.mean(s[w:]), *right_quantiles(s, w)[1:]), "is the mean"),
    ("01-2", lambda s, w: np.quantile(s, [0.5, 0.9, 0.99]), "kept the cold calls"),
    ("01-2", lambda s, w: np.quantile(np.sort(s)[w:], [0.5, 0.9, 0.99]), "dropped the fastest"),
    ("01-2", lambda s, w: 1000 * right_quantiles(s, w), "milliseconds"),
    ("01-2", lambda s, w: right_quantiles(s, w)[::-1], "the order is"),
    ("01-2", lambda s, w: right_quantiles(s, w)[:2], "three figures"),
    ("01-2", in_place, "changed the list"),
    ("01-3", wald, "plain normal formula"),
    ("01-3", lambda c, n: (max(0, wald(c, n)[0]), min(1, wald(c, n)[1])), "plain normal formula"),
    ("01-3", lambda c, n: wald(c, n, 1), "one standard error"),
    ("01-3", lambda c, n: right_interval(c, n, 1), "one standard error"),
    ("01-3", lambda c, n: tuple(100 * v for v in right_interval(c, n)), "percent"),
    ("01-3", lambda c, n: right_interval(c, n)[::-1], "low first"),
    ("01-3", lambda c, n: right_interval(c, n, 2.576), "Wilson's interval is"),
    ("01-4", extremes, "only the smallest and the most accurate"),
    ("01-4", strict_in_both, "better in both"),
    ("01-4", no_twins, "thrown each other out"),
    ("01-4", lambda s, a: right_front([-x for x in s], a), "turned round"),
    ("01-4", lambda s, a: list(range(len(s))), "the front is"),
    ("01-4", lambda s, a: [right_front(s, a)[0]], "only the smallest|the front is|as good"),
    ("01-4", one_twin, "you kept one"),
    ("01-4", lambda s, a: 7, "return the positions"),
    ("01-4", lambda s, a: 1 / 0, "ZeroDivisionError"),
    ("01-5", lambda a, b: right_p(a, b) / 2, "one side"),
    ("01-5", one_outcome, "exactly this outcome"),
    ("01-5", short_sum, "including the smaller count"),
    ("01-5", chi_squared, "chi-squared"),
    ("01-5", lambda a, b: chi_squared(a, b, 1) if a + b else 1.0, "chi-squared"),
    ("01-5", lambda a, b: 2 * sum(comb(a + b, k) for k in range(min(a, b) + 1)) / 2 ** (a + b), "at most 1"),
    ("01-5", lambda a, b: right_p(a, b) if a + b else 0.0, "nothing speaks against"),
    ("01-5", lambda a, b: 1.0001 * right_p(a, b), "p is|at most 1"),
    ("01-5", lambda a, b: 0.9999 * right_p(a, b), "p is"),
    ("01-5", lambda a, b: float("nan"), "p is a number"),
    ("01-1", lambda a, b: packed(a) / len(b), "only the larger file"),
    ("01-1", lambda a, b: 1 - packed(b) / packed(a), "share that is saved"),
    ("01-1", lambda a, b: 0.985 * right_ratio(a, b), "the ratio is"),
    ("01-1", lambda a, b: 1.015 * right_ratio(a, b), "the ratio is"),
    ("01-2", lambda s, w: (np.mean(s), *right_quantiles(s, w)[1:]), "is the mean"),
    ("01-2", lambda s, w: np.quantile(s[w:], [0.6, 0.9, 0.99]), "median, p90 and p99 are"),
    ("01-2", lambda s, w: np.quantile(s[w:], [0.5, 0.95, 0.99]), "median, p90 and p99 are"),
    ("01-2", lambda s, w: np.quantile(s[w:], [0.5, 0.9, 0.95]), "median, p90 and p99 are"),
    ("01-2", lambda s, w: np.quantile(s[w:], [0.5, 0.88, 0.99]), "median, p90 and p99 are"),
    ("01-2", lambda s, w: (*right_quantiles(s, w)[:2], s[w:].max() * 1.01), "median, p90 and p99 are"),
    ("01-3", lambda c, n: right_interval(c, n) if c < n else (1, 1), "Wilson's interval is"),
    ("01-3", lambda c, n: right_interval(c, n) if c else (0, 0), "Wilson's interval is"),
    ("01-3", lambda c, n: right_interval(c, n, 1.95), "Wilson's interval is"),
    # Near a half 1.97 widens Wilson's interval to the plain one of 1.96: with 180 of 360 they are the same to 0.00001.
    ("01-3", lambda c, n: right_interval(c, n, 1.97), "Wilson's interval is|plain normal formula"),
    ("01-4", lambda s, a: right_front(s, [-x for x in a]), "turned round"),
    ("01-4", lambda s, a: [*right_front(s, a), len(s)], "positions run from 0 to 7"),
    ("01-4", lambda s, a: [-1, *right_front(s, a)], "positions run from 0 to 7"),
    ("01-4", lambda s, a: [*right_front(s, a), right_front(s, a)[0]], "the front is"),
    ("01-4", lambda s, a: extremes(s, a) - {int(np.argmax(a))}, "only the smallest and the most accurate"),
    ("01-5", lambda a, b: comb(a + b, a) / 2 ** (a + b), "exactly this outcome|one side"),
    ("01-5", lambda a, b: right_p(a, b) - (2 / 2 ** (a + b) if a != b else 0), "sum runs from 0|exactly this outcome"),
    ("01-5", lambda a, b: float("inf"), "p is a number"),
    ("01-5", lambda a, b: 100 * right_p(a, b), "percent"),
    ("01-3", lambda c, n: (float("nan"), float("nan")), "no two numbers"),
    ("01-3", lambda c, n: (float("nan"), right_interval(c, n)[1]), "no two numbers"),
    ("01-3", lambda c, n: (0.0, float("inf")), "no two numbers"),
    ("01-4", lambda s, a: [], "no position"),
    ("01-5", lambda a, b: (1 + 1e-4) * right_p(a, b) if a != b else 1.0, "p is"),
    ("01-5", lambda a, b: -right_p(a, b), "p is"),
    (
        "01-3",
        lambda c, n: (right_interval(c, n, 1.959964)[0] - 2.5e-5, right_interval(c, n)[1]),
        "Wilson's interval is|plain normal formula",
    ),
]


@pytest.mark.parametrize(("id", "answer"), RIGHT)
def test_the_solution_passes_every_time(id, answer):
    assert [grade(id, answer).message for _ in range(20) if grade(id, answer).state != "right"] == []


@pytest.mark.parametrize("id", ["01-1", "01-2", "01-3", "01-4", "01-5"])
def test_the_stub_is_not_attempted(id):
    assert grade(id, stub).state == "not attempted"


@pytest.mark.parametrize(("id", "answer", "misconception"), WRONG)
def test_a_wrong_answer_is_told_its_misconception(id, answer, misconception):
    for _ in range(10):
        verdict = grade(id, answer)
        assert verdict.state == "wrong"
        assert re.search(misconception, verdict.message), verdict.message


@pytest.mark.parametrize("id", ["01-1", "01-2", "01-3", "01-4", "01-5"])
def test_three_hints_grow_more_specific(id, capsys):
    for number in (1, 2, 3):
        hint(id, number)
    shown = capsys.readouterr().out.splitlines()
    assert len(set(shown)) == 3 and all(f"for {id}" in line for line in shown)


test_near_misses = answers.near_misses(RIGHT, ["01-2"])
test_other_words = answers.other_words(RIGHT)
