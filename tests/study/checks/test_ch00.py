"""The checks of chapter 00 accept right answers and name the misconception of wrong ones."""

import re
from itertools import pairwise

import numpy as np

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
]


RIGHT = [("00-1", right_bytes), ("00-2", right_compare), ("00-3", right_bound)]
test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
