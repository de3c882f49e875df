"""Checks of chapter 09's exercises: bytes of places and values, a step that holds zeros, the choice by bits."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


def _entropy(share: float) -> float:
    return float(-sum(p * np.log2(p) for p in (share, 1 - share) if p > 0))


@exercise(
    "09-1",
    "the bytes of a pruned and quantized layer",
    (
        "Two parts: where the zeros are, h bits for each of the n weights; and b bits for each one that is not zero.",
        "s is np.mean(weights == 0); where s is 0 or 1 there is nothing to say about places: h is 0.",
        "`s = np.mean(weights == 0); h = -sum(p * np.log2(p) for p in (s, 1 - s) if p > 0); "
        "return weights.size * (h + (1 - s) * b) / 8`",
    ),
)
def combined_bytes(answer, rng: np.random.Generator) -> None:
    """`answer(weights, b)`: n (H(s) + (1 − s) b) / 8."""
    for round_ in range(10):
        shape = tuple(int(size) for size in rng.integers(10, 20, size=int(rng.integers(2, 4))))
        b = int(rng.choice([2, 4, 8]))
        share = [0.9, 0.2, 0.0, 1.0, 0.99][round_ % 5]
        weights = rng.integers(1, 2 ** (b - 1), size=shape) * np.where(rng.random(shape) < 0.5, -1, 1)
        weights = weights * (rng.random(shape) >= share)
        s = float(np.mean(weights == 0))
        n, h = weights.size, _entropy(s)
        wanted = n * (h + (1 - s) * b) / 8
        made = answer(weights.copy(), b)
        require(np.ndim(made) == 0, "return one number, the bytes of the whole layer")
        made = float(made)
        require(np.isfinite(made), f"with {100 * s:.0f} % zeros you returned {made}: log2(0) is infinite; h is 0 there")
        parts = h > 0 and s < 1
        require(not parts or not np.isclose(made, 8 * wanted), "that is the number of bits; a byte has eight")
        require(not parts or not np.isclose(made, n * (1 - s) * b / 8), "you forgot the places: h bits for each weight")
        require(s == 0 or not np.isclose(made, n * (h + b) / 8), "a weight that is zero has no value to store")
        require(not parts or not np.isclose(made, n * h / 8), "you forgot the values: b bits for each one that stays")
        require(
            not parts or not np.isclose(made, (h + (1 - s) * b) / 8), "that is for one weight: multiply by their number"
        )
        require(
            not parts or not np.isclose(made, n * (h * np.log(2) + (1 - s) * b) / 8),
            "you took the natural logarithm: bits need the one to base 2",
        )
        require(
            not parts or np.isclose(s, 0.5) or not np.isclose(made, n * (h + s * b) / 8),
            "you counted the zeros as the weights that stay: 1 − s of them are not zero",
        )
        require(abs(made - wanted) < 1, f"it is {wanted:,.0f} bytes; you returned {made:,.0f}")


@exercise(
    "09-2",
    "a training step that holds zeros",
    (
        "What is zero before the step must be zero after it. What must its gradient be multiplied by?",
        "The mask is weights != 0. Then the step as always, then round(… / scale), from −127 to 127.",
        "`moved = weights - rate * gradient * (weights != 0); return np.clip(np.round(moved / scale), -127, 127)`",
    ),
)
def held_step(answer, rng: np.random.Generator) -> None:
    """`answer(weights, gradient, rate, scale)`: integers after a masked step."""
    for _ in range(10):
        shape = tuple(int(size) for size in rng.integers(5, 9, size=2))
        weights = rng.normal(size=shape) * (rng.random(shape) < 0.5)
        weights.flat[:3] = (0.0, 3.0, -3.0)
        gradient = np.round(rng.normal(size=shape), 2) + 0.003
        rate, scale = 0.1, 0.02
        mask = weights != 0
        moved = weights - rate * gradient * mask
        wanted = np.clip(np.round(moved / scale), -127, 127)
        made = np.asarray(answer(weights.copy(), gradient.copy(), rate, scale))
        require(made.shape == shape, f"the integers have the shape of the weights, {shape}; yours have {made.shape}")
        require(np.array_equal(made, np.round(made)), "return integers: round to the nearest whole number of steps")
        require(
            not (made[~mask] != 0).any(),
            "a weight that was zero is an integer other than 0 now: multiply its gradient by the mask",
        )
        largest = np.abs(made).max()
        require(largest <= 127, f"an integer is {largest:.0f} from zero; 8 bits end at ±127")
        require(
            not np.array_equal(made, np.clip(np.round(weights / scale), -127, 127)),
            "nothing moved: subtract rate · gradient from what is not zero",
        )
        away = np.clip(np.round((weights + rate * gradient * mask) / scale), -127, 127)
        require(not np.array_equal(made, away), "you went up the slope: the step is minus rate · gradient")
        require(
            not np.array_equal(made, np.clip(np.round((weights - gradient * mask) / scale), -127, 127)),
            "you forgot the rate",
        )
        require(
            np.abs(made - wanted).max() == 0,
            "the integers are round((weights − rate · gradient · mask) / scale), from −127 to 127",
        )


@exercise(
    "09-3",
    "which weights are worth their bits",
    (
        "The score is weights² · mean squared gradient / bits. Sort it; which places have the largest?",
        "np.argsort of the raveled score, the last `count` of it; then leave out those with score 0.",
        "`score = (weights**2 * mean_squared_gradient / bits).ravel(); kept = np.zeros(score.size); "
        "kept[np.argsort(score)[-count:]] = 1; return (kept * (score > 0)).reshape(weights.shape)`",
    ),
)
def choice(answer, rng: np.random.Generator) -> None:
    """`answer(weights, mean_squared_gradient, bits, count)`: a mask of the `count` best."""
    right, suspects = True, list(_OTHERS)
    for round_ in range(10):
        shape = tuple(int(size) for size in rng.integers(5, 9, size=int(rng.integers(2, 4))))
        weights = rng.normal(size=shape)
        square = rng.uniform(0.01, 1.0, size=shape) ** 2
        bits = rng.uniform(1, 12, size=shape)
        size = weights.size
        count = int(rng.integers(size // 4, size // 2))
        if round_ % 3 == 1:
            square.flat[: size // 2] = 0
            count = size - 1
        if round_ % 3 == 2:  # equal scores
            weights, square, bits = np.ones(shape), np.ones(shape), np.ones(shape)
        score = weights**2 * square / bits
        made = np.asarray(answer(weights.copy(), square.copy(), bits.copy(), count))
        require(made.shape == shape, f"the mask has the shape of the weights, {shape}; yours has {made.shape}")
        require(np.isin(made, (0, 1)).all(), "a mask holds zeros and ones; return 1 where a weight stays")
        wanted = min(count, int((score > 0).sum()))
        require(not (made[score == 0] == 1).any(), "a weight with score 0 stays although nobody would miss it")
        found = int(made.sum())
        equal = " (where scores are equal, a threshold takes all of them)" if round_ % 3 == 2 else ""
        require(found == wanted, f"{wanted} weights should stay, {found} do{equal}")
        if round_ % 3 == 2:
            continue
        kept = made.astype(bool).ravel()
        right &= np.array_equal(kept, _best(score, score, wanted))
        masks = {message: _best(rank(weights, square, bits), score, wanted) for message, rank in _OTHERS.items()}
        suspects = [message for message in suspects if np.array_equal(kept, masks[message])]
    require(right, suspects[0] if suspects else "other weights have the largest scores, w² · v / bits")


#: What others rank by.
_OTHERS = {
    "that is magnitude pruning: the score also has the gradient and the bits": lambda w, v, b: np.abs(w),
    "you left out the bits: divide by them": lambda w, v, b: w**2 * v,
    "you left out the mean squared gradient": lambda w, v, b: w**2 / b,
    "you multiplied by the bits; a weight that costs many is worth less": lambda w, v, b: w**2 * v * b,
    "you kept those with the smallest score": lambda w, v, b: -(w**2) * v / b,
    "you took the weights as they are: square them": lambda w, v, b: w * v / b,
}


def _best(worth: np.ndarray, score: np.ndarray, count: int) -> np.ndarray:
    """Where the `count` largest of `worth` are, among those with a score, as a flat mask."""
    ranked = np.where(score.ravel() > 0, worth.ravel(), -np.inf)
    found = np.zeros(score.size, bool)
    found[np.argsort(ranked)[::-1][:count]] = True
    return found
