"""Checks of chapter 08's exercises: a round of k-means, the gradient of a code book, the bytes of a shared layer."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "08-1",
    "one round of k-means: nearest centroids, then means",
    (
        "Two steps. For each weight: which centroid is nearest? Then for each centroid: the mean of which weights?",
        "`np.abs(weights[..., None] - centroids)` has one axis more, the last, of k distances; argmin along it.",
        "`indices = np.abs(weights[..., None] - centroids).argmin(axis=-1)`, then for each i "
        "`own = weights[indices == i]` and, `if own.size:`, `new[i] = own.mean()`; last `return indices, new`",
    ),
)
def one_round(answer, rng: np.random.Generator) -> None:
    """`answer(weights, centroids)`: (indices like the weights, new centroids)."""
    for round_ in range(10):
        shape = tuple(int(size) for size in rng.integers(2, 6, size=int(rng.integers(1, 4))))
        weights = rng.normal(size=shape)
        centroids = np.sort(rng.normal(size=int(rng.integers(2, 5))))
        if round_ % 2:
            centroids[-1] = 50.0  # nobody's nearest
        distances = np.abs(weights[..., None] - centroids)
        wanted = distances.argmin(-1)
        made = answer(weights.copy(), centroids.copy())
        require(isinstance(made, tuple) and len(made) == 2, "return two things: the indices and the new centroids")
        index, new = (np.asarray(part) for part in made)
        require(index.shape == shape, f"the indices have the shape of the weights, {shape}; yours have {index.shape}")
        require(
            not np.allclose(index, centroids[wanted]),
            "you returned the centroids themselves; an index says which of them it is: 0, 1, …",
        )
        require(
            not np.array_equal(index, np.abs(np.abs(weights)[..., None] - np.abs(centroids)).argmin(-1))
            or np.array_equal(index, wanted),
            "you compared absolute values: then −1 is as near to 1 as 1 itself. Take the absolute value of the"
            " difference",
        )
        require(np.array_equal(index, wanted), "a weight is not at its nearest centroid: argmin of the distances")
        require(new.shape == centroids.shape, f"there are {len(centroids)} centroids after the round as before")
        require(
            np.isfinite(new).all(), "a centroid without weights became NaN, the mean of nothing; it stays where it is"
        )
        used = np.bincount(wanted.ravel(), minlength=len(centroids)) > 0
        require(
            np.allclose(new[~used], centroids[~used]),
            f"a centroid without weights stays where it is; yours went to {new[~used]}",
        )
        middle = [float((weights[wanted == i].min() + weights[wanted == i].max()) / 2) for i in np.flatnonzero(used)]
        means = [float(weights[wanted == i].mean()) for i in np.flatnonzero(used)]
        require(
            not np.allclose(new[used], middle) or np.allclose(means, middle),
            "you took the middle between the least and the largest weight; the mean counts each weight",
        )
        require(
            not np.array_equal(new, centroids) or np.allclose(means, centroids[used]),
            "the centroids did not move: each one goes to the mean of its weights",
        )
        require(np.allclose(new[used], means), f"the centroids are {np.round(means, 3)}, the means of their weights")


@exercise(
    "08-2",
    "the gradients of the centroids",
    (
        "A centroid stands in as many places as it has weights. What does the chain rule do with several places?",
        "It adds. np.add.at, or np.bincount with weights=, adds by index.",
        "`np.bincount(indices.ravel(), weights=gradient.ravel(), minlength=clusters)`",
    ),
)
def gradients(answer, rng: np.random.Generator) -> None:
    """`answer(gradient, indices, clusters)`: sums by index, (clusters,)."""
    for _ in range(10):
        shape = tuple(int(size) for size in rng.integers(3, 7, size=2))
        clusters = int(rng.integers(3, 7))
        indices = rng.integers(0, clusters - 1, size=shape)  # nobody uses the last one
        indices.flat[:2] = 0
        gradient = rng.normal(size=shape)
        wanted = np.bincount(indices.ravel(), weights=gradient.ravel(), minlength=clusters)
        counts = np.bincount(indices.ravel(), minlength=clusters)
        made = np.asarray(answer(gradient.copy(), indices.copy(), clusters))
        require(made.shape != shape, "you returned a gradient for each weight; there is one for each centroid")
        require(
            made.shape == (clusters,),
            f"there are {clusters} centroids, also those that nobody uses; you returned the shape {made.shape}",
        )
        require(np.isfinite(made).all(), "a centroid that nobody uses has gradient 0, not NaN")
        require(
            not np.allclose(made, wanted / np.maximum(counts, 1)) or counts.max() == 1,
            "that is the mean; the chain rule adds the gradients of all places",
        )
        last = np.zeros(clusters)
        last[indices.ravel()] = gradient.ravel()
        require(
            not np.allclose(made, last),
            "each centroid has the gradient of its last weight only: `a[indices] = …` overwrites, it does not add",
        )
        require(np.allclose(made, wanted), f"the sums by index are {np.round(wanted, 3)}; you returned {made}")


@exercise(
    "08-3",
    "the bytes of a layer with a code book",
    (
        "How many weights are there, and how many centroids? What does one index cost, and one centroid?",
        "A fixed index takes the next whole number at or above log2 k; on average the entropy of counts / n is enough.",
        "`fixed = np.ceil(np.log2(len(counts)))`, `entropy = -np.sum(p * np.log2(p))`, and both with `book = 32 * "
        "len(counts)`: `return (n * fixed + book) / 8, (n * entropy + book) / 8`",
    ),
)
def shared_bytes(answer, rng: np.random.Generator) -> None:
    """`answer(counts)`: (bytes with fixed indices, bytes by the entropy), code book of floats in both."""
    for _ in range(10):
        k = int(rng.choice([4, 5, 8, 12, 16]))
        counts = 8 * rng.integers(1, 500, size=k)
        counts[0] *= 20  # far from even
        n, p = int(counts.sum()), counts / counts.sum()
        fixed_bits, entropy = int(np.ceil(np.log2(k))), float(-np.sum(p * np.log2(p)))
        made = answer(counts.copy())
        require(isinstance(made, (tuple, list)) and len(made) == 2, "return two numbers: fixed, and by the entropy")
        fixed, least = (float(part) for part in made)
        right = (n * fixed_bits + 32 * k) / 8
        require(not np.isclose(fixed, n * fixed_bits / 8), f"you forgot the code book: {k} centroids of 4 bytes each")
        require(not np.isclose(fixed, 8 * right), "that is the number of bits; a byte has eight")
        require(
            k in (4, 8, 16) or not np.isclose(fixed, (n * np.log2(k) + 32 * k) / 8),
            f"a fixed index is a whole number of bits: {k} values need {fixed_bits}, not {np.log2(k):.2f}",
        )
        require(abs(fixed - right) < 1, f"with fixed indices it is {right:,.0f} bytes; you returned {fixed:,.0f}")
        wanted = (n * entropy + 32 * k) / 8
        natural = (n * entropy * np.log(2) + 32 * k) / 8
        require(not np.isclose(least, natural), "you took the natural logarithm: bits need the one to base 2")
        require(
            not np.isclose(least, n * entropy / 8),
            "by the entropy the code book has to be stored, too: 4 bytes a centroid",
        )
        require(
            not np.isclose(least, (entropy + 32 * k) / 8),
            "the entropy is bits for one weight: multiply by the number of weights",
        )
        require(abs(least - wanted) < 1, f"by the entropy it is {wanted:,.0f} bytes; you returned {least:,.0f}")
