"""The checks of chapter 08 accept right answers and name the misconception of wrong ones."""

import numpy as np

from tests.study.checks import answers
from utils.study.exercises import grade


def right_round(weights, centroids, distance=lambda w, c: np.abs(w[..., None] - c), mean=np.mean, empty=None):
    index = distance(weights, centroids).argmin(-1)
    new = []
    for i, centroid in enumerate(centroids):
        own = weights[index == i]
        new.append(mean(own) if own.size else (centroid if empty is None else empty))
    return index, np.array(new)


def middle(values):
    return (values.min() + values.max()) / 2


def by_magnitude(weights, centroids):
    return np.abs(np.abs(weights)[..., None] - np.abs(centroids))


def values_instead(weights, centroids):
    index, new = right_round(weights, centroids)
    return centroids[index], new


def right_gradient(gradient, indices, clusters):
    return np.bincount(indices.ravel(), weights=gradient.ravel(), minlength=clusters)


def mean_gradient(gradient, indices, clusters):
    return right_gradient(gradient, indices, clusters) / np.maximum(np.bincount(indices.ravel(), minlength=clusters), 1)


def nan_gradient(gradient, indices, clusters):
    with np.errstate(invalid="ignore"):
        return right_gradient(gradient, indices, clusters) / np.bincount(indices.ravel(), minlength=clusters)


def overwritten(gradient, indices, clusters):
    made = np.zeros(clusters)
    made[indices.ravel()] = gradient.ravel()
    return made


def right_bytes(counts, log=np.log2, whole=np.ceil, book=True, many=True):
    n, k = counts.sum(), len(counts)
    p = counts / n
    stored = 32 * k if book else 0
    entropy = -np.sum(p * log(p))
    return (n * whole(np.log2(k)) + 32 * k) / 8, ((n if many else 1) * entropy + stored) / 8


RIGHT = [("08-1", right_round), ("08-2", right_gradient), ("08-3", right_bytes)]
WRONG = [
    ("08-1", lambda w, c: right_round(w, c)[0], "two things"),
    ("08-1", values_instead, "centroids themselves"),
    ("08-1", lambda w, c: (right_round(w, c)[0].ravel()[:-1], c), "shape of the weights"),
    ("08-1", lambda w, c: right_round(w, c, distance=by_magnitude), "absolute values|nearest centroid"),
    ("08-1", lambda w, c: right_round(w, c, empty=np.nan), "NaN"),
    ("08-1", lambda w, c: right_round(w, c, empty=0.0), "stays where it is"),
    ("08-1", lambda w, c: right_round(w, c, mean=middle), "middle"),
    ("08-1", lambda w, c: (right_round(w, c)[0], c), "did not move"),
    ("08-2", mean_gradient, "mean"),
    ("08-2", nan_gradient, "NaN"),
    ("08-2", overwritten, "overwrites"),
    ("08-2", lambda g, i, k: right_gradient(g, i, k)[i], "for each weight"),
    ("08-2", lambda g, i, k: right_gradient(g, i, k)[:-1], "nobody uses"),
    ("08-2", lambda g, i, k: -right_gradient(g, i, k), "sums by index"),
    ("08-3", lambda c: right_bytes(c)[0], "two numbers"),
    ("08-3", lambda c: (right_bytes(c)[0] - 4 * len(c), right_bytes(c)[1]), "forgot the code book"),
    ("08-3", lambda c: (8 * right_bytes(c)[0], right_bytes(c)[1]), "number of bits"),
    ("08-3", lambda c: (right_bytes(c)[0] + c.sum() / 8, right_bytes(c)[1]), "fixed indices it is"),
    ("08-3", lambda c: right_bytes(c, log=np.log), "natural logarithm"),
    ("08-3", lambda c: right_bytes(c, book=False), "code book has to be stored"),
    ("08-3", lambda c: right_bytes(c, many=False), "multiply by the number"),
    ("08-1", lambda w, c: (right_round(w, c)[0], right_round(w, c)[1][:-1]), "after the round as before"),
    ("08-1", lambda w, c: right_round(w, c, mean=np.median), "the means of their weights|middle"),
    ("08-1", lambda w, c: (right_round(w, c)[0] * 0, c), "nearest centroid|did not move|absolute values"),
    ("08-1", lambda w, c: [*right_round(w, c)], "two things"),
    ("08-3", lambda c: (right_bytes(c)[0], right_bytes(c)[1] + 2), "by the entropy it is"),
    ("08-3", lambda c: (right_bytes(c)[0] + 2, right_bytes(c)[1]), "fixed indices it is"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT)


def test_parts_of_a_bit_are_told():
    """Numbers of clusters that are no power of two come in most, not in all, grades."""
    verdicts = [grade("08-3", lambda counts: right_bytes(counts, whole=float)) for _ in range(5)]
    assert any(verdict.state == "wrong" and "whole number of bits" in verdict.message for verdict in verdicts)
