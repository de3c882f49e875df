"""The checks of chapter 06 accept right answers and name the misconception of wrong ones."""

import numpy as np

from tests.study.checks import answers


def right_mask(weights, sparsity, key=np.abs, keep=False):
    mask = np.ones(weights.size)
    order = np.argsort(key(weights), axis=None, kind="stable")
    count = round((1 - sparsity if keep else sparsity) * weights.size)
    mask[order[:count]] = 0
    return mask.reshape(weights.shape)


def by_threshold(weights, sparsity):
    return np.abs(weights) > np.quantile(np.abs(weights), sparsity)


def right_bytes(n, s, value, index):
    return n * (1 - s) * (value + index) / 8, index / (value + index)


def right_removal(first, bias, normalization, second, keep):
    return first[..., keep], bias[keep], [array[keep] for array in normalization], second[:, :, keep]


RIGHT = [("06-1", right_mask), ("06-2", right_bytes), ("06-3", right_removal)]
WRONG = [
    ("06-1", lambda w, s: right_mask(w, s, key=lambda v: v), "sorted the values|larger, in absolute value"),
    ("06-1", lambda w, s: right_mask(w, s, keep=True), "fraction of zeros"),
    ("06-1", by_threshold, "threshold|fraction of zeros"),
    ("06-1", lambda w, s: w * right_mask(w, s), "only zeros and ones"),
    ("06-1", lambda w, s: right_mask(w, s).ravel()[:-1], "shape"),
    ("06-1", lambda w, s: right_mask(w, s, key=lambda v: -np.abs(v)), "larger, in absolute value"),
    ("06-2", lambda n, s, v, i: (n * s * (v + i) / 8, i / (v + i)), "stored the zeros|it is .* bytes"),
    ("06-2", lambda n, s, v, i: (n * (1 - s) * v / 8, i / (v + i)), "forgot the places"),
    ("06-2", lambda n, s, v, i: (n * (1 - s) * (v + i), i / (v + i)), "number of bits"),
    ("06-2", lambda n, s, v, i: ((n * (1 - s) * v + n * i) / 8, i / (v + i)), "zeros need no place"),
    ("06-2", lambda n, s, v, i: (right_bytes(n, s, v, i)[0], v / (v + i)), "may stay"),
    ("06-2", lambda n, s, v, i: (right_bytes(n, s, v, i)[0], 0.5), "half is right"),
    ("06-2", lambda n, s, v, i: right_bytes(n, s, v, i)[0], "two numbers"),
    ("06-3", lambda f, b, n, s, k: (f[:, :, k], b[k], [a[k] for a in n], s[:, :, k]), "reads; the channels"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k], [a[k] for a in n], s[..., k]), "second convolution makes"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k], [a[k] for a in n], s), "`second` is as large"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b, [a[k] for a in n], s[:, :, k]), "bias has one number"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k], n, s[:, :, k]), "four arrays"),
    ("06-3", lambda f, b, n, s, k: (f[..., k][..., ::-1], b[k], [a[k] for a in n], s[:, :, k]), "in their order"),
    ("06-3", lambda f, b, n, s, k: (f[:, :, k][..., k], b[k], n, s[:, :, k]), "one axis only"),
    ("06-1", lambda w, s: 1 - right_mask(w, s), "larger, in absolute value|fraction of zeros|threshold"),
    ("06-1", lambda w, s: np.ones(w.shape), "zeros. A threshold|fraction of zeros"),
    ("06-1", lambda w, s: np.zeros(w.shape), "zeros. A threshold|fraction of zeros"),
    ("06-2", lambda n, s, v, i: (right_bytes(n, s, v, i)[0] + 1, i / (v + i)), "it is .* bytes|stored the zeros"),
    ("06-2", lambda n, s, v, i: (right_bytes(n, s, v, i)[0], i / v), "bits are fewer|may stay|half"),
    ("06-2", lambda n, s, v, i: (n * s * (v + i) / 8, i / (v + i)), "stored the zeros"),
    ("06-3", lambda *a: right_removal(*a)[:3], "four things"),
    ("06-3", lambda f, b, n, s, k: (f, b[k], [a[k] for a in n], s[:, :, k]), "`first` is as large"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k - 1], [a[k] for a in n], s[:, :, k]), "the bias keeps"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k], [a[k - 1] for a in n], s[:, :, k]), "normalization keeps"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k], [a[k] for a in n][:3], s[:, :, k]), "four arrays"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k], [a[k] for a in n], s[:, :, k][:, :, ::-1]), "second kernel keeps"),
    ("06-3", lambda f, b, n, s, k: (f[..., k], b[k], [n[0], *(a[k] for a in n[1:])], s[:, :, k]), "four arrays"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT)


def test_values_that_were_sorted_are_told_from_magnitudes_with_the_largest_first():
    """Both remove the same weights where the largest ones are all negative."""
    seen = []

    def by_value(weights, sparsity):
        seen.append((weights.copy(), right_mask(weights, sparsity, key=lambda v: v), sparsity))
        return seen[-1][1]

    said = []
    for seed in range(40):
        (message,) = answers.verdicts("06-1", by_value, 1, seed)
        weights, mask, sparsity = seen[-1]
        if len(np.unique(np.abs(weights))) == weights.size:
            largest_first = np.array_equal(mask, right_mask(weights, sparsity, key=lambda v: -np.abs(v)))
            said.append(largest_first)
            assert ("larger, in absolute value" if largest_first else "sorted the values") in message
    assert any(said) and not all(said)


def test_a_network_has_a_whole_number_of_weights_thousands_of_them():
    asked = []
    list(answers.verdicts("06-2", lambda *a: (asked.append(a), right_bytes(*a))[1], 3))
    assert len(asked) == 30 and all(isinstance(n, int) and 1000 <= n < 100_000 for n, *_ in asked)
    assert all(0 < share < 1 for _, share, *_ in asked)


def test_a_right_answer_is_right_where_another_mistake_gives_the_same_bytes():
    """At a sparsity of one half as many are stored as are not."""
    halves = []

    def answer(n, sparsity, *bits):
        halves.append(sparsity == 0.5)
        return right_bytes(n, sparsity, *bits)

    assert not any(answers.verdicts("06-2", answer, 60)) and any(halves)
