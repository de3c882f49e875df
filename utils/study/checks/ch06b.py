"""Checks of notebook 06b's exercises: two scores, one step of Optimal Brain Surgeon, a lottery ticket."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "06b-1",
    "gradient × weight, and Fisher × weight²",
    (
        "Which of the two wants the gradient of the mean loss, and which one the gradients of the examples?",
        "Mean first, then times the weight; and squares first, then their mean.",
        "`fisher = weights**2 * (gradients**2).mean(axis=0) / 2; "
        "return np.abs(weights * gradients.mean(axis=0)), fisher`",
    ),
)
def scores(answer, rng: np.random.Generator) -> None:
    """`answer(weights, gradients)`: (|w · mean gradient|, w² · mean squared gradient / 2)."""
    for _ in range(10):
        n, examples = int(rng.integers(3, 7)), int(rng.integers(8, 20))
        w, g = rng.normal(size=n), rng.normal(size=(examples, n))
        made = answer(w.copy(), g.copy())
        require(isinstance(made, (tuple, list)) and len(made) == 2, "return two arrays: both scores")
        first, fisher = (np.asarray(part, float) for part in made)
        require(first.shape == (n,) == fisher.shape, f"a score has one number a weight, ({n},); yours {first.shape}")
        right = np.abs(w * g.mean(0))
        require(
            _same(first, right) or not _same(first, w * g.mean(0)),
            "the sign is still there: a weight whose removal *changes* the loss much matters either way; take |…|",
        )
        require(
            not _same(first, np.abs(w) * np.abs(g).mean(0)),
            "you took absolute values before the mean: the gradient of the mean loss is the mean of the gradients",
        )
        require(not _same(first, np.abs(w * g.sum(0))), "you took the sum over the examples; the loss is their mean")
        require(_same(first, right), "the first score is |w · mean of the gradients|")
        wanted = w**2 * (g**2).mean(0) / 2
        require(
            not _same(fisher, w**2 * g.mean(0) ** 2 / 2),
            "you squared the mean: then examples that pull in opposite directions cancel. Square first",
        )
        require(not _same(fisher, 2 * wanted), "half of it: the second term of a Taylor series has a factor ½")
        require(not _same(fisher, np.abs(w) * (g**2).mean(0) / 2), "the weight is squared, too")
        require(_same(fisher, wanted), "the second score is w² · mean of the squared gradients / 2")


@exercise(
    "06b-2",
    "one step of Optimal Brain Surgeon",
    (
        "What does each weight cost? Its size alone does not say it.",
        "p = np.argmin(weights**2 / np.diag(inverse)); then the others move by −w[p] / inverse[p, p] times column p.",
        "`p = np.argmin(weights**2 / np.diag(inverse)); return weights - weights[p] / inverse[p, p] * inverse[:, p]`",
    ),
)
def step(answer, rng: np.random.Generator) -> None:
    """`answer(weights, inverse)`: the cheapest weight is 0, the others are corrected."""
    for _ in range(10):
        w, inverse = _case(rng)
        made = np.asarray(answer(w.copy(), inverse.copy()), float)
        require(made.shape == w.shape, f"return all {len(w)} weights; yours has the shape {made.shape}")
        p = int(np.argmin(w**2 / np.diag(inverse)))
        smallest = int(np.argmin(np.abs(w)))

        def moved(q: int, sign: float = -1, w: np.ndarray = w, inverse: np.ndarray = inverse) -> np.ndarray:
            return w + sign * w[q] / inverse[q, q] * inverse[:, q]

        require(
            not (_same(made, moved(smallest)) or _same(made, np.where(np.arange(len(w)) == smallest, 0, w))),
            "you removed the smallest weight; the cheapest has the smallest w² / [H⁻¹]pp",
        )
        require(
            not _same(made, np.where(np.arange(len(w)) == p, 0, w)),
            "the right weight went, but the others did not move: nothing makes up for it",
        )
        require(not _same(made, moved(p, 1)), "the others move the other way: the sign is minus, and then w[p] is 0")
        require(
            not _same(made, w - w[p] * inverse[:, p]),
            "divide by [H⁻¹]pp: only then does the weight itself become exactly 0",
        )
        require(_same(made, moved(p)), f"w[{p}] costs least, and the others move by −w[p] / [H⁻¹]pp · H⁻¹[:, p]")


@exercise(
    "06b-3",
    "a lottery ticket: first weights under the trained ones' mask",
    (
        "Whose magnitudes decide, and whose numbers come back?",
        "Join all trained arrays, sort positions by absolute value, take the first round(sparsity · n), cut again.",
        "`flat = np.concatenate([np.ravel(a) for a in trained]); keep = np.ones(flat.size); "
        'order = np.argsort(np.abs(flat), kind="stable"); keep[order[: round(sparsity * flat.size)]] = 0; '
        "ends = np.cumsum([a.size for a in trained])[:-1]; "
        "return [f * k.reshape(f.shape) for f, k in zip(first, np.split(keep, ends))]`",
    ),
)
def ticket(answer, rng: np.random.Generator) -> None:
    """`answer(first, trained, sparsity)`: a list like `first`, zero where the smallest trained weights are."""
    for _ in range(10):
        shapes = [tuple(int(n) for n in rng.integers(3, 6, size=2)) for _ in range(3)]
        first = [rng.normal(size=shape) for shape in shapes]
        trained = [rng.normal(size=shape) * size for shape, size in zip(shapes, (0.3, 1, 3), strict=True)]
        sparsity = float(rng.choice([0.3, 0.5, 0.6]))
        made = answer([a.copy() for a in first], [a.copy() for a in trained], sparsity)
        require(isinstance(made, (tuple, list)) and len(made) == len(first), f"return {len(first)} arrays")
        made = [np.asarray(a, float) for a in made]
        require([a.shape for a in made] == shapes, "each array keeps its shape")
        for ranked, weights, message in (
            (trained, trained, "these are trained weights: the ticket begins again, with the first ones"),
            (
                first,
                first,
                "you ranked the first weights: before training they say little; the mask is the trained ones'",
            ),
            (first, trained, "it is the other way round: the trained weights make the mask, the first ones come back"),
        ):
            require(not _all(made, _masked(weights, ranked, sparsity)), message)
        each = [_masked([f], [t], sparsity)[0] for f, t in zip(first, trained, strict=True)]
        require(not _all(made, each), "you ranked each array by itself; here one ranking goes over all of them")
        require(
            sparsity == 0.5 or not _all(made, _masked(first, trained, 1 - sparsity)),
            "sparsity is the fraction of zeros, not of what stays",
        )
        require(
            _all(made, _masked(first, trained, sparsity)), "zeros belong where |trained| is smallest, over all arrays"
        )


def _case(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Weights and H⁻¹ where the smallest weight is not the cheapest."""
    while True:
        n = int(rng.integers(4, 8))
        inputs = rng.normal(size=(3 * n, n)) * rng.uniform(0.2, 3, size=n)
        w = rng.normal(size=n)
        inverse = np.linalg.inv(inputs.T @ inputs / len(inputs))
        if np.argmin(np.abs(w)) != np.argmin(w**2 / np.diag(inverse)):
            return w, inverse


def _masked(weights: list[np.ndarray], ranked: list[np.ndarray], sparsity: float) -> list[np.ndarray]:
    flat = np.concatenate([np.ravel(a) for a in ranked])
    keep = np.ones(flat.size)
    keep[np.argsort(np.abs(flat), kind="stable")[: round(sparsity * flat.size)]] = 0
    ends = np.cumsum([a.size for a in ranked])[:-1]
    return [w * k.reshape(w.shape) for w, k in zip(weights, np.split(keep, ends), strict=True)]


def _all(made: list[np.ndarray], wanted: list[np.ndarray]) -> bool:
    return all(map(_same, made, wanted))


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.shape == b.shape and bool(np.allclose(a, b))
