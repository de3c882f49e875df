"""The checks of chapter 10 accept right answers and name the misconception of wrong ones."""

import numpy as np

from tests.study.checks import answers
from utils.study.exercises import grade


def softmax(z, axis=-1):
    powers = np.exp(z - np.max(z, axis=axis, keepdims=True))
    return powers / powers.sum(axis=axis, keepdims=True)


def soft_targets(logits, temperature):
    return softmax(np.asarray(logits) / temperature)


def gradient(z_student, z_teacher, label, temperature, share, power=1, hard_temperature=1, swapped=False):
    soft = softmax(z_student / temperature) - softmax(z_teacher / temperature)
    hard = softmax(z_student / hard_temperature) - np.eye(len(z_student))[label]
    share = 1 - share if swapped else share
    return share * temperature**power * soft + (1 - share) * hard


def two_teachers(first, second):
    return np.log((softmax(first) + softmax(second)) / 2)


RIGHT = [("10-1", soft_targets), ("10-2", gradient), ("10-3", two_teachers)]


def overflowing(z, temperature):
    powers = np.exp(z / temperature)
    return powers / powers.sum(axis=1, keepdims=True)


WRONG = [
    ("10-1", lambda z, t: softmax(z), "temperature 1"),
    ("10-1", lambda z, t: softmax(z * t), "multiplied"),
    ("10-1", lambda z, t: softmax(z) / t, "divided the probabilities"),
    ("10-1", lambda z, t: softmax(z / t, axis=0), "columns sum to 1"),
    ("10-1", lambda z, t: softmax(softmax(z) / t), "softmax twice"),
    ("10-1", overflowing, "overflow"),
    ("10-1", lambda z, t: np.exp(z / t) / np.exp(z / t).sum(), "all of it sums to 1"),
    ("10-2", lambda *a: gradient(*a, power=-1), "left out T²"),
    ("10-2", lambda *a: gradient(*a, power=2), "T is left"),
    ("10-2", lambda *a: gradient(*a, power=0), "you have 1"),
    ("10-2", lambda *a: -gradient(*a), "sign is turned"),
    ("10-2", lambda *a: gradient(*a, swapped=True), "share belongs to the soft part"),
    (
        "10-2",
        lambda s, t, label, temperature, share: gradient(s, t, label, temperature, share, 1, temperature),
        "temperature 1",
    ),
    ("10-2", lambda *a: gradient(*a)[:1], "for each class"),
    ("10-3", lambda a, b: (a + b) / 2, "averaged logits"),
    ("10-3", lambda a, b: (softmax(a) + softmax(b)) / 2, "these are the probabilities"),
    ("10-3", lambda a, b: np.log(softmax(a)) / 2 + np.log(softmax(b)) / 2, "geometric mean"),
    ("10-3", lambda a, b: np.log(softmax(a) * 0.9 + softmax(b) * 0.1), "not the mean"),
    ("10-1", lambda z, t: soft_targets(z, t)[:1], "the shape stays"),
    ("10-1", lambda z, t: soft_targets(z, t + 0.1), "this is not softmax"),
    ("10-1", lambda z, t: soft_targets(np.minimum(z, 700), t), "for large logits"),
    (
        "10-2",
        lambda s, t, n, tau, share: (
            share * tau * (softmax(s) - softmax(t / tau)) + (1 - share) * (softmax(s) - np.eye(len(s))[n])
        ),
        "divided by T as well",
    ),
    ("10-2", lambda s, t, n, tau, share: 2 * gradient(s, t, n, tau, 0.5), "weighed by share"),
    ("10-2", lambda *a: 2 * gradient(*a), "it is share"),
    ("10-3", lambda a, b: two_teachers(a, b)[:1], "the shape stays"),
    ("10-3", lambda a, b: np.where(two_teachers(a, b) < -1, -np.inf, two_teachers(a, b)), "not finite"),
    ("10-3", lambda a, b: np.full(a.shape, -np.inf), "not finite"),
]


test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT)
test_other_words = answers.other_words(RIGHT)


def test_logits_that_differ_by_a_number_a_row_are_the_same_teacher():
    assert grade("10-3", lambda a, b: two_teachers(a, b) + 7).state == "right"
