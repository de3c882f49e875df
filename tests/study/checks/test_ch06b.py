"""The checks of notebook 06b accept right answers and name the misconception of wrong ones."""

import numpy as np

from tests.study.checks import answers


def right_scores(w, g):
    return np.abs(w * g.mean(axis=0)), w**2 * (g**2).mean(axis=0) / 2


def right_step(w, inverse):
    p = np.argmin(w**2 / np.diag(inverse))
    return w - w[p] / inverse[p, p] * inverse[:, p]


def right_ticket(first, trained, sparsity):
    flat = np.concatenate([np.ravel(a) for a in trained])
    keep = np.ones(flat.size)
    keep[np.argsort(np.abs(flat), kind="stable")[: round(sparsity * flat.size)]] = 0
    ends = np.cumsum([a.size for a in trained])[:-1]
    return [f * k.reshape(f.shape) for f, k in zip(first, np.split(keep, ends), strict=True)]


def without(w, p):
    return np.where(np.arange(len(w)) == p, 0, w)


def cheapest(w, inverse):
    return np.argmin(w**2 / np.diag(inverse))


def smallest_step(w, inverse):
    p = np.argmin(np.abs(w))
    return w - w[p] / inverse[p, p] * inverse[:, p]


def plus_step(w, inverse):
    p = cheapest(w, inverse)
    return w + w[p] / inverse[p, p] * inverse[:, p]


def undivided_step(w, inverse):
    p = cheapest(w, inverse)
    return w - w[p] * inverse[:, p]


def each_by_itself(first, trained, sparsity):
    return [right_ticket([f], [t], sparsity)[0] for f, t in zip(first, trained, strict=True)]


RIGHT = [("06b-1", right_scores), ("06b-2", right_step), ("06b-3", right_ticket)]
WRONG = [
    ("06b-1", lambda w, g: (w * g.mean(0), right_scores(w, g)[1]), "sign"),
    ("06b-1", lambda w, g: (np.abs(w) * np.abs(g).mean(0), right_scores(w, g)[1]), "before the mean"),
    ("06b-1", lambda w, g: (np.abs(w * g.sum(0)), right_scores(w, g)[1]), "the sum"),
    ("06b-1", lambda w, g: (right_scores(w, g)[0], w**2 * g.mean(0) ** 2 / 2), "squared the mean"),
    ("06b-1", lambda w, g: (right_scores(w, g)[0], w**2 * (g**2).mean(0)), "half of it"),
    ("06b-1", lambda w, g: (right_scores(w, g)[0], np.abs(w) * (g**2).mean(0) / 2), "squared, too"),
    ("06b-1", lambda w, g: right_scores(w, g)[0], "two arrays|one number a weight"),
    ("06b-1", lambda w, g: (w * g, w**2 * g**2), "one number a weight"),
    ("06b-2", lambda w, i: without(w, np.argmin(np.abs(w))), "smallest weight"),
    ("06b-2", smallest_step, "smallest weight"),
    ("06b-2", lambda w, i: without(w, cheapest(w, i)), "did not move"),
    ("06b-2", plus_step, "sign is minus"),
    ("06b-2", undivided_step, "divide by"),
    ("06b-2", lambda w, i: right_step(w, i)[1:], "return all"),
    ("06b-3", lambda f, t, s: right_ticket(t, t, s), "begins again"),
    ("06b-3", lambda f, t, s: right_ticket(f, f, s), "ranked the first"),
    ("06b-3", lambda f, t, s: right_ticket(t, f, s), "other way round"),
    ("06b-3", each_by_itself, "by itself"),
    ("06b-3", lambda f, t, s: right_ticket(f, t, s)[:2], "return 3 arrays"),
    ("06b-3", lambda f, t, s: right_ticket(f, t, s + 0.2), "zeros belong|fraction of zeros"),
    ("06b-1", lambda w, g: (2 * right_scores(w, g)[0], right_scores(w, g)[1]), "the first score is"),
    ("06b-1", lambda w, g: (right_scores(w, g)[0], 3 * right_scores(w, g)[1]), "the second score is"),
    ("06b-2", lambda w, i: right_step(w, i) + 1e-3, "costs least"),
    ("06b-2", lambda w, i: right_step(w, np.diag(np.diag(i))), "did not move"),
    ("06b-3", lambda f, t, s: [a.ravel() for a in right_ticket(f, t, s)], "keeps its shape"),
    ("06b-3", lambda f, t, s: right_ticket(f, t, 1 - s if s != 0.5 else 0.6), "not of what stays|zeros belong"),
    ("06b-3", lambda f, t, s: f, "zeros belong"),
    ("06b-3", lambda f, t, s: right_ticket(f, [np.exp(a) for a in t], s), "zeros belong"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT)
