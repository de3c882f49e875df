"""Checks of chapter 10's exercises: soft targets, the gradient of the loss, one teacher made of two."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


def _softmax(z: np.ndarray) -> np.ndarray:
    powers = np.exp(z - z.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


@exercise(
    "10-1",
    "soft targets at a temperature",
    (
        "Divide first, then softmax. Over which axis do the probabilities sum to 1?",
        "Softmax does not change when the same number is subtracted from all logits of a row: subtract the largest.",
        "`z = np.asarray(logits, float) / temperature; p = np.exp(z - z.max(axis=1, keepdims=True)); return p / "
        "p.sum(axis=1, keepdims=True)`",
    ),
)
def soft_targets(answer, rng: np.random.Generator) -> None:
    """`answer(logits, temperature)`: softmax(logits / temperature), row by row."""
    for temperature in (0.5, 2, 4, 20):
        z = rng.normal(0, 3, (int(rng.integers(3, 6)), int(rng.integers(3, 8))))
        made = np.asarray(answer(z.copy(), temperature), float)
        require(made.shape == z.shape, f"the shape stays {z.shape}; yours is {made.shape}")
        require(not np.allclose(made, _softmax(z)), "that is softmax at temperature 1: divide the logits by T first")
        require(not np.allclose(made, _softmax(z * temperature)), "you multiplied by T; a higher one must even out")
        require(
            not np.allclose(made, _softmax(z) / temperature),
            "you divided the probabilities; they no longer sum to 1. Divide the logits, before softmax",
        )
        columns = np.exp(z / temperature)
        require(
            not np.allclose(made, columns / columns.sum(axis=0)),
            "your columns sum to 1; each row is one picture and must sum to 1",
        )
        require(
            not np.allclose(made, columns / columns.sum()), "all of it sums to 1; each row is a distribution of its own"
        )
        require(
            not np.allclose(made, _softmax(_softmax(z) / temperature)),
            "you took softmax twice: probabilities differ by 1 at most, so little is left of the differences",
        )
        require(np.allclose(made, _softmax(z / temperature)), "this is not softmax(logits / T) of each row")
    large = np.array([[1000.0, 998.0, 0.0]])
    with np.errstate(all="ignore"):
        made = np.asarray(answer(large.copy(), 1), float)
    require(np.isfinite(made).all(), "logits of 1,000 overflow: subtract each row's largest before np.exp")
    require(np.allclose(made, _softmax(large)), "for large logits the result is not that of softmax")


@exercise(
    "10-2",
    "the gradient of the distillation loss",
    (
        "Cross-entropy's gradient by the logits that go into softmax is softmax − target. What does dividing by T add?",
        "The soft part is T² · CE of logits / T: T² · (1 / T) · (softmax(student / T) − softmax(teacher / T)). The "
        "hard part has no T.",
        "`h = np.eye(len(z_student))[label]; soft = softmax(z_student / temperature) - softmax(z_teacher / "
        "temperature); return share * temperature * soft + (1 - share) * (softmax(z_student) - h)`",
    ),
)
def gradient(answer, rng: np.random.Generator) -> None:
    """`answer(z_student, z_teacher, label, temperature, share)`: (classes,), of the whole loss."""
    for temperature in (2.0, 4.0, 8.0):
        count = int(rng.integers(3, 8))
        student, teacher = rng.normal(0, 2, (2, count))
        label, s = int(rng.integers(count)), float(rng.uniform(0.3, 0.7))
        made = np.asarray(answer(student.copy(), teacher.copy(), label, temperature, s), float)
        require(made.shape == (count,), f"one number for each class: shape {(count,)}; yours is {made.shape}")
        soft = _softmax(student / temperature) - _softmax(teacher / temperature)
        hard = _softmax(student) - np.eye(count)[label]
        right = s * temperature * soft + (1 - s) * hard
        for wrong, message in (
            (s * soft / temperature + (1 - s) * hard, "you left out T²: the soft part is multiplied by it"),
            (s * temperature**2 * soft + (1 - s) * hard, "T² stands before the loss, z / T brings 1 / T: T is left"),
            (s * soft + (1 - s) * hard, "T² times the inner derivative 1 / T is T; you have 1"),
            (-right, "the sign is turned: student minus target, so that descent brings it nearer"),
            ((1 - s) * temperature * soft + s * hard, "share belongs to the soft part, 1 − share to the labels"),
            (temperature * soft + hard, "the two parts are weighed by share and 1 − share"),
            (
                s * temperature * soft + (1 - s) * (_softmax(student / temperature) - np.eye(count)[label]),
                "the hard part has temperature 1: that is how the student is used",
            ),
            (
                s * temperature * (_softmax(student) - _softmax(teacher / temperature)) + (1 - s) * hard,
                "the student's logits are divided by T as well, in the soft part",
            ),
        ):
            require(not np.allclose(made, wrong), message)
        require(
            np.allclose(made, right),
            "it is share · T · (student − teacher, softened) + (1 − share) · (student − label)",
        )


@exercise(
    "10-3",
    "one teacher made of two",
    (
        "What should be averaged: numbers whose scale differs from network to network, or numbers that mean the same?",
        "Average the probabilities at temperature 1. Which logits have these probabilities as their softmax?",
        "`return np.log((softmax(first) + softmax(second)) / 2)`",
    ),
)
def two_teachers(answer, rng: np.random.Generator) -> None:
    """`answer(first, second)`: (n, classes) logits whose softmax is the mean of both softmaxes."""
    for _ in range(5):
        n, count = int(rng.integers(2, 5)), int(rng.integers(3, 6))
        first, second = rng.normal(0, 1, (n, count)), rng.normal(0, 6, (n, count))
        mean = (_softmax(first) + _softmax(second)) / 2
        made = np.asarray(answer(first.copy(), second.copy()), float)
        require(made.shape == first.shape, f"the shape stays {first.shape}; yours is {made.shape}")
        require(np.isfinite(made).all(), "some of yours are not finite; two finite teachers give a finite one")
        require(
            not np.allclose(made, (first + second) / 2),
            "you averaged logits: the network with the larger ones outvotes the other. Average probabilities",
        )
        require(
            not np.allclose(made, mean),
            "these are the probabilities; their softmax is something else. Which logits have them as softmax?",
        )
        product = _softmax((first + second) / 2)
        require(
            not np.allclose(_softmax(made), product),
            "that is the geometric mean: averaging logarithms of probabilities is averaging logits",
        )
        require(np.allclose(_softmax(made), mean), "the softmax of your logits is not the mean of the two softmaxes")
