"""The checks of the second notebook of chapter 04 accept right answers and name the misconception of wrong ones."""

import numpy as np
import pytest
from scipy.stats import binomtest

from tests.study.checks import answers
from utils.study.checks import ch04b
from utils.study.exercises import grade


def cache(layers, kv_heads, head_dim, tokens, bits):
    return 2 * layers * kv_heads * head_dim * tokens * bits / 8


def factors(x, kernel, alpha):
    return np.abs(x).max(0) ** alpha / np.abs(kernel).max(1) ** (1 - alpha)


def smooth(x, kernel, alpha):
    s = factors(x, kernel, alpha)
    s = np.where((s > 0) & np.isfinite(s), s, 1)
    return x / s, kernel * s[:, None]


def interval(z, more=()):
    """Of the mean difference, by standard errors."""

    def answer(before, after, margin):
        d = np.append(after.astype(float) - before, more)
        return d.mean() - z * d.std() / np.sqrt(len(d)) > -margin

    return answer


def exact(level=0.025):
    """By the exact ends of both numbers, here from scipy's test."""

    def answer(before, after, margin):
        n, lost, won = len(before), int(np.sum(before & ~after)), int(np.sum(~before & after))
        ends = [binomtest(k, n).proportion_ci(1 - 2 * level, method="exact") for k in (lost, won)]
        return (lost - won) / n + np.hypot(ends[0].high - lost / n, won / n - ends[1].low) < margin

    return answer


def lost_alone(before, after, margin):
    lost = int(np.sum(before & ~after))
    return binomtest(lost, len(before)).proportion_ci(0.95, method="exact").high < margin


def not_significant(before, after, margin):
    d = after.astype(float) - before
    return abs(d.mean()) < 1.96 * d.std() / np.sqrt(len(d))


def without_abs(x, kernel, alpha):
    s = np.abs(x.max(0)) ** alpha / np.abs(kernel).max(1) ** (1 - alpha)
    return x / s, kernel * s[:, None]


def other_way(x, kernel, alpha):
    s = factors(x, kernel, alpha)
    return x * s, kernel / s[:, None]


def guarded_once(x, kernel, alpha, side):
    """Inputs that are 0 on the other side are forgotten."""
    s = factors(x, kernel, alpha)
    s = np.where(np.abs(x).max(0) > 0, s, 1) if side == "x" else np.where(np.isfinite(s), s, 1)
    return x / s, kernel * s[:, None]


def gives_up(x, kernel, alpha):
    s = factors(x, kernel, alpha)
    return smooth(x, kernel, alpha) if ((s > 0) & np.isfinite(s)).all() else (x, kernel)


RIGHT = [("04b-1", cache), ("04b-2", smooth), ("04b-3", exact())]

test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT, ["04b-3 arrays"])


@pytest.mark.parametrize("id, answer", RIGHT)
def test_right(id, answer):
    for _ in range(10):
        assert grade(id, answer).state == "right"


@pytest.mark.parametrize("id", ["04b-1", "04b-2", "04b-3"])
def test_a_stub_is_not_attempted(id):
    assert grade(id, ...).state == "not attempted"


@pytest.mark.parametrize(
    "id, answer, message",
    [
        ("04b-1", lambda *a: cache(*a) / 2, "key \\*and\\* a value"),
        ("04b-1", lambda *a: cache(*a) * 8, "these are bits"),
        ("04b-1", lambda la, h, d, t, b: cache(1, h, d, t, b), "each layer"),
        ("04b-1", lambda la, h, d, t, b: cache(la, h, d, 1, b), "one token"),
        ("04b-1", lambda la, h, d, t, b: cache(la, h, d, t, 16), "16 bits a number"),
        ("04b-1", lambda *a: cache(*a) * 1.01, "bytes"),
        ("04b-2", lambda x, k, a: (x, k), "nothing was smoothed"),
        ("04b-2", lambda x, k, a: (x / factors(x, k, a), k), "product changed"),
        ("04b-2", other_way, "larger"),
        ("04b-2", lambda x, k, a: smooth(x, k, 1 - a), "alpha belongs to x"),
        ("04b-2", without_abs, "absolute values"),
        ("04b-2", lambda x, k, a: x, "two arrays"),
        ("04b-2", lambda x, k, a: (x[:1], k), "shapes must stay"),
        ("04b-3", not_significant, "that excludes"),
        ("04b-3", lambda b, a, m: a.mean() - b.mean() > -m, "not excluded|upper end"),
        ("04b-3", lambda b, a, m: a.mean() >= b.mean(), "not excluded|less than the margin"),
        ("04b-2", lambda x, k, a: (x / factors(x, k, a), k * factors(x, k, a)[:, None]), "NaN"),
        ("04b-3", interval(1.96), "the upper end is 1 - 0.025"),
        ("04b-3", interval(1.96, more=(1, -1)), "so few answers changed"),
        ("04b-3", exact(1e-9), "1,000 pictures"),
        ("04b-3", exact(1e-4), "within the margin"),
        ("04b-3", exact(0.05), "few answers|both sides"),
        ("04b-3", lost_alone, "less than the margin"),
        ("04b-3", lambda b, a, m: 1.0, "True or False"),
        ("04b-2", lambda *a: guarded_once(*a, "x"), "NaN"),
        ("04b-2", lambda *a: guarded_once(*a, "kernel"), "NaN"),
        ("04b-2", gives_up, "smoothed as before"),
        ("04b-2", lambda *a: [*smooth(*a)], "two arrays"),
        ("04b-3", lambda b, a, m: exact()(b, a, 0.01), "the margin is what is passed"),
        ("04b-3", lambda b, a, m: exact()(b, a, max(m, 0.01)), "only 0.3 points"),
        ("04b-3", lambda b, a, m: exact()(a, b, m), "."),
        ("04b-3", lambda b, a, m: True, "not excluded"),
        ("04b-3", lambda b, a, m: False, "that excludes"),
    ],
)
def test_wrong_answers_are_told_why(id, answer, message):
    import re

    verdict = grade(id, answer)
    assert verdict.state == "wrong" and re.search(message, verdict.message), verdict.message


@pytest.mark.parametrize("n", [1, 3, 20, 300])
def test_the_upper_end_of_04b_3_is_that_of_the_exact_ends(n):
    """Of so many pictures few may be lost, many, or none."""
    for lost, won in {(0, 0), (1, 0), (0, 1), (n // 3, n // 2), (n // 2, n - n // 2)}:
        if lost < n:
            ends = [binomtest(k, n).proportion_ci(0.95, method="exact") for k in (lost, won)]
            half = np.hypot(ends[0].high - lost / n, won / n - ends[1].low)
            assert ch04b._upper_end(lost, won, n) == pytest.approx((lost - won) / n + half, rel=1e-9)
