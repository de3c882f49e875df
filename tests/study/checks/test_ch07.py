"""The checks of chapter 07 accept right answers and name the misconception of wrong ones."""

import numpy as np

from tests.study.checks import answers


def stored_bytes(weights, share, value, index, block):
    kept = round(weights * (1 - share))
    return kept * (value + index / block) / 8


def n_of_m(kernel, zeros, size):
    groups = np.abs(kernel.T).reshape(-1, size)
    rank = groups.argsort(axis=1).argsort(axis=1)
    return (rank >= zeros).reshape(kernel.T.shape).T


def block_product(values, columns, starts, x):
    result = np.zeros(len(starts) - 1)
    for row in range(len(result)):
        for block in range(starts[row], starts[row + 1]):
            first = 4 * columns[block]
            result[row] += values[block] @ x[first : first + 4]
    return result


def from_the_column_on(values, columns, starts, x):
    result = np.zeros(len(starts) - 1)
    for row in range(len(result)):
        for block in range(starts[row], starts[row + 1]):
            result[row] += values[block] @ x[columns[block] : columns[block] + 4]
    return result


def first_block_only(values, columns, starts, x):
    result = np.zeros(len(starts) - 1)
    for row in range(len(result)):
        if starts[row + 1] > starts[row]:
            block = starts[row]
            result[row] = values[block] @ x[4 * columns[block] : 4 * columns[block] + 4]
    return result


def along_the_outputs(kernel, zeros, size):
    return n_of_m(kernel.T, zeros, size).T


RIGHT = [("07-1", stored_bytes), ("07-2", n_of_m), ("07-3", block_product)]
WRONG = [
    ("07-1", lambda *a: 8 * stored_bytes(*a), "bits"),
    ("07-1", lambda w, s, v, i, b: stored_bytes(w, s, v, i, 1), "index of its own"),
    ("07-1", lambda w, s, v, i, b: stored_bytes(w, s, v, 0, b), "indices are missing"),
    ("07-1", lambda w, s, v, i, b: w * s * (v + i / b) / 8, "stored the zeros|it is"),
    ("07-1", lambda *a: "many", "it is"),
    ("07-2", along_the_outputs, "along the outputs"),
    ("07-2", lambda k, z, n: ~n_of_m(k, z, n), "upside down"),
    ("07-2", lambda k, z, n: n_of_m(k - k.min() + 1, z, n), "by value"),
    ("07-2", lambda k, z, n: n_of_m(k, n - z, n), "of them go"),
    ("07-2", lambda k, z, n: np.ones(3, bool), "shape"),
    ("07-3", from_the_column_on, "count blocks"),
    ("07-3", first_block_only, "one block a row"),
    ("07-3", lambda v, c, s, x: np.zeros(len(s)), "shape"),
    ("07-3", lambda v, c, s, x: 2 * block_product(v, c, s, x), "the product is"),
    ("07-1", lambda w, s, v, i, b: w * s * (v + i / b) / 8, "stored the zeros"),
    ("07-1", lambda *a: stored_bytes(*a) + 2, "it is"),
    ("07-1", lambda *a: [], "it is"),
    ("07-2", lambda k, z, n: n_of_m(k.reshape(-1, 1), z, n).reshape(k.shape), "along the outputs"),
    ("07-2", lambda k, z, n: np.roll(n_of_m(k, z, n), 1, axis=0), "weights go; yours are not the same"),
    ("07-3", lambda v, c, s, x: block_product(v, c, s, x) + (np.arange(len(s) - 1) == len(s) - 2), "last row is empty"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT)
