"""The checks of chapter 09 accept right answers and name the misconception of wrong ones."""

import numpy as np

from tests.study.checks import answers


def entropy(s, log=np.log2):
    return -sum(p * log(p) for p in (s, 1 - s) if p > 0)


def right_bytes(weights, b, log=np.log2, places=1, values=1):
    s = np.mean(weights == 0)
    return weights.size * (places * entropy(s, log) + values * (1 - s) * b) / 8


def zeros_counted(weights, b):
    s = np.mean(weights == 0)
    return weights.size * (entropy(s) + s * b) / 8


def values_for_all(weights, b):
    return weights.size * (entropy(np.mean(weights == 0)) + b) / 8


def with_nan(weights, b):
    s = np.mean(weights == 0)
    with np.errstate(all="ignore"):
        return weights.size * (-s * np.log2(s) - (1 - s) * np.log2(1 - s) + (1 - s) * b) / 8


def right_step(weights, gradient, rate, scale, mask=True, sign=-1, top=127):
    held = weights != 0 if mask else 1
    return np.clip(np.round((weights + sign * rate * gradient * held) / scale), -top, top)


def right_choice(weights, square, bits, count, score=lambda w, v, b: w**2 * v / b, alive=True):
    worth = score(weights, square, bits).ravel()
    real = (weights**2 * square / bits).ravel()
    worth = np.where(real > 0, worth, -np.inf) if alive else worth
    kept = np.zeros(worth.size)
    kept[np.argsort(worth)[::-1][:count]] = 1
    return (kept * (real > 0) if alive else kept).reshape(weights.shape)


def by_threshold(weights, square, bits, count):
    score = weights**2 * square / bits
    return (score >= np.sort(score.ravel())[-count]) & (score > 0)


def scored(score):
    return lambda w, v, b, count: right_choice(w, v, b, count, score)


RIGHT = [("09-1", right_bytes), ("09-2", right_step), ("09-3", right_choice)]
WRONG = [
    ("09-1", lambda w, b: 8 * right_bytes(w, b), "number of bits"),
    ("09-1", lambda w, b: right_bytes(w, b, places=0), "forgot the places"),
    ("09-1", lambda w, b: right_bytes(w, b, values=0), "forgot the values"),
    ("09-1", values_for_all, "no value to store"),
    ("09-1", lambda w, b: right_bytes(w, b) / w.size, "multiply by their number"),
    ("09-1", lambda w, b: right_bytes(w, b, log=np.log), "natural logarithm"),
    ("09-1", zeros_counted, "1 − s"),
    ("09-1", with_nan, "h is 0"),
    ("09-1", lambda w, b: np.full(3, right_bytes(w, b)), "one number"),
    ("09-1", lambda w, b: right_bytes(w, b) + 5, "bytes; you returned"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s, mask=False), "multiply its gradient"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s) * s, "return integers"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s, top=1000), "end at"),
    ("09-2", lambda w, g, r, s: right_step(w, 0 * g, r, s), "nothing moved"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s, sign=1), "up the slope"),
    ("09-2", lambda w, g, r, s: right_step(w, g, 1, s), "forgot the rate"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s)[0], "shape of the weights"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, 2 * s), "round"),
    ("09-3", scored(lambda w, v, b: np.abs(w)), "magnitude pruning"),
    ("09-3", scored(lambda w, v, b: w**2 * v), "left out the bits"),
    ("09-3", scored(lambda w, v, b: w**2 / b), "mean squared gradient"),
    ("09-3", scored(lambda w, v, b: w**2 * v * b), "multiplied by the bits"),
    ("09-3", scored(lambda w, v, b: -(w**2) * v / b), "smallest score"),
    ("09-3", scored(lambda w, v, b: w * v / b), "square them"),
    ("09-3", lambda w, v, b, count: right_choice(w, v, b, count, alive=False), "score 0"),
    ("09-3", lambda w, v, b, count: right_choice(w, v, b, count) * 2.0, "zeros and ones"),
    ("09-3", lambda w, v, b, count: right_choice(w, v, b, count).ravel()[:-1], "shape of the weights"),
    ("09-3", by_threshold, "equal"),
    ("09-1", lambda w, b: right_bytes(w, b) + 1.5, "bytes; you returned"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s) + (w != 0) * 0.5, "return integers"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s, top=128), "end at"),
    ("09-2", lambda w, g, r, s: right_step(w, g, r, s, top=126), "from −127 to 127"),
    ("09-2", lambda w, g, r, s: np.clip(np.trunc((w - r * g * (w != 0)) / s), -127, 127), "the integers are round"),
    ("09-3", scored(lambda w, v, b: np.abs(w) ** 3 * v / b), "other weights have the largest scores"),
    ("09-3", scored(lambda w, v, b: w**2 * np.sqrt(v) / b), "other weights have the largest scores"),
    ("09-3", lambda w, v, b, count: right_choice(w, v, b, count - 1), "weights should stay"),
]

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT)
