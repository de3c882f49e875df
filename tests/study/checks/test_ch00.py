"""The checks of chapter 00 accept right answers and name the misconception of wrong ones."""

import re
from itertools import pairwise

import numpy as np
import pytest

from tests.study.checks import answers


def right_bytes(widths, bits):
    return sum(a * b + b for a, b in pairwise(widths)) * bits // 8


def right_compare(stored, new):
    return re.sub("⟦[^⟧]*⟧", "⟦⟧", stored) == re.sub("⟦[^⟧]*⟧", "⟦⟧", new)


def right_bound(figures):
    middle, spread = np.mean(figures), np.std(figures, ddof=1)
    return middle - 3 * spread, middle + 3 * spread


WRONG = [
    ("00-1", lambda w, b: sum(x * y for x, y in pairwise(w)) * b // 8, "left out the biases"),
    ("00-1", lambda w, b: right_bytes(w, b) * 8, "returned bits"),
    ("00-1", lambda w, b: right_bytes(w, 8), "the answer is|number of parameters"),
    ("00-1", lambda w, b: right_bytes(w, b) + w[0] * b // 8, "the input has no bias"),
    ("00-2", lambda a, b: a == b, "compare what stands in the brackets"),
    ("00-2", lambda a, b: re.sub(r"\d", "", a) == re.sub(r"\d", "", b), "let every digit vary"),
    ("00-2", lambda a, b: re.sub("⟦.*⟧", "", a) == re.sub("⟦.*⟧", "", b), "from the first ⟦ to the last ⟧"),
    ("00-2", lambda a, b: re.sub("⟦[^⟧]*⟧", "", a) == re.sub("⟦[^⟧]*⟧", "", b), "vanished altogether"),
    ("00-2", lambda a, b: True, "let every digit vary"),
    ("00-3", lambda f: (min(f), max(f)), "smallest and largest of five"),
    ("00-3", lambda f: (0.0, 1.0), "standard deviations wide"),
    ("00-3", lambda f: (-np.inf, np.inf), "infinite bound"),
    ("00-3", lambda f: (np.mean(f) - 2 * np.std(f), np.mean(f) + 2 * np.std(f)), "fits the five runs"),
    ("00-3", lambda f: (f[0], f[0]), "low below high"),
    ("00-2", lambda a, b: a != b and right_compare(a, b), "equal outputs"),
    ("00-2", lambda a, b: right_compare(a, b.removesuffix(" ✘")), "behind the last bracket"),
    ("00-3", lambda f: (-np.inf, max(f)), "infinite bound"),
    ("00-3", lambda f: (min(f), np.inf), "infinite bound"),
    ("00-3", lambda f: right_bound(f)[::-1], "low below high"),
]


RIGHT = [("00-1", right_bytes), ("00-2", right_compare), ("00-3", right_bound)]
test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT, ["00-3"])
test_other_words = answers.other_words(RIGHT, ["00-3"])


@pytest.mark.parametrize(
    ("factor", "said"),
    [  # about how often a next run of five falls inside: 45 %, 67 %, 78 %, 91 %, 94 %, 99.5 %, 99.7 %
        (0.7, "measure the spread"),
        (1.2, "smallest and largest"),
        (1.6, "fits the five runs"),
        (2.4, "fits the five runs"),
        (2.8, ""),
        (6.0, ""),
        (7.0, "13 standard deviations wide"),
    ],
)
def test_a_bound_of_so_many_deviations(factor, said):
    def answer(figures):
        middle, spread = np.mean(figures), np.std(figures, ddof=1)
        return middle - factor * spread, middle + factor * spread

    (message,) = answers.verdicts("00-3", answer, 1)
    assert said in message and bool(message) == bool(said)
