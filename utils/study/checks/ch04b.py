"""Checks of the second notebook of chapter 04: bytes of a KV cache, smoothing, non-inferiority."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "04b-1",
    "the bytes of a KV cache",
    (
        "For each token a layer keeps a key and a value for each of its key-value heads. How many numbers is that?",
        "numbers = 2 · layers · kv_heads · head_dim · tokens. A number has bits / 8 bytes.",
        "`numbers = 2 * layers * kv_heads * head_dim * tokens`, then `return numbers * bits / 8`.",
    ),
)
def cache_bytes(answer, rng: np.random.Generator) -> None:
    """`answer(layers, kv_heads, head_dim, tokens, bits)`: bytes."""
    for bits in (16, 8, 4):
        layers, heads = (int(n) for n in rng.integers(3, 40, 2))
        size, tokens = int(rng.choice([64, 128, 256])), int(rng.integers(100, 9000))
        right = 2 * layers * heads * size * tokens * bits / 8
        got = float(answer(layers, heads, size, tokens, bits))
        require(not np.isclose(got, right / 2), "half of it is missing: a token has a key *and* a value")
        require(not np.isclose(got, right * 8), "these are bits; a byte has eight")
        require(not np.isclose(got, right / layers), "each layer has a cache of its own")
        require(not np.isclose(got, right / tokens), "these are the bytes of one token; the cache keeps all of them")
        require(
            bits == 16 or not np.isclose(got, right * 16 / bits),
            f"you count 16 bits a number whatever is asked for; here it is {bits}",
        )
        require(
            np.isclose(got, right), f"{layers} layers, {heads} heads of {size}, {tokens} tokens: {right:,.0f} bytes"
        )


@exercise(
    "04b-2",
    "smooth a layer",
    (
        "Dividing a column of x and multiplying the same *row* of the kernel leaves x @ kernel as it is.",
        "s = (absmax of each column of x) ** alpha / (absmax of each row of the kernel) ** (1 - alpha); "
        "1 where one of the two is 0.",
        "`columns = np.abs(x).max(axis=0)`, `rows = np.abs(kernel).max(axis=1)`, "
        "`live = (columns > 0) & (rows > 0)`, `s = np.ones(len(columns))`, "
        "`s[live] = columns[live] ** alpha / rows[live] ** (1 - alpha)`, then `return x / s, kernel * s[:, None]`.",
    ),
)
def smooth(answer, rng: np.random.Generator) -> None:
    """`answer(x, kernel, alpha)`: (x smoothed, kernel smoothed)."""
    for alpha in (0.5, 0.8):
        n, inputs, outputs = 40, 9, 5
        x = rng.normal(size=(n, inputs)) * np.exp(rng.normal(size=inputs) * 2)
        kernel = rng.normal(size=(inputs, outputs)) * np.exp(rng.normal(size=(inputs, 1)))
        x[:, 0] = -np.abs(x[:, 0]) * 5  # negative outliers, so that a maximum without abs shows
        got = answer(x.copy(), kernel.copy(), alpha)
        require(isinstance(got, tuple) and len(got) == 2, "return two arrays: x smoothed, and the kernel")
        new_x, new_kernel = (np.asarray(part) for part in got)
        require(
            new_x.shape == x.shape and new_kernel.shape == kernel.shape,
            f"shapes must stay {x.shape} and {kernel.shape}; got {new_x.shape} and {new_kernel.shape}",
        )
        require(
            np.allclose(new_x @ new_kernel, x @ kernel),
            "the product changed: what divides a column of x multiplies the same row of the kernel",
        )
        s = np.abs(x).max(0) ** alpha / np.abs(kernel).max(1) ** (1 - alpha)
        swapped = np.abs(x).max(0) ** (1 - alpha) / np.abs(kernel).max(1) ** alpha
        found = np.median(x / new_x, axis=0)
        require(not np.allclose(found, 1), "nothing was smoothed: x is as it was")
        require(not np.allclose(found, 1 / s), "you made the outliers larger: *divide* x by s, multiply the kernel")
        require(
            alpha == 0.5 or not np.allclose(found, swapped),
            "alpha belongs to x and 1 - alpha to the kernel: a larger alpha moves more into the weights",
        )
        require(
            np.allclose(found, s),
            "s is absmax(column of x)^alpha / absmax(row of kernel)^(1 - alpha): absolute values, over the examples "
            f"and over the outputs. For the first input it is {s[0]:.4g}, yours is {found[0]:.4g}",
        )
    x[:, 1] = 0  # a pixel that is always black
    with np.errstate(all="ignore"):  # the sentence below says it
        new_x, new_kernel = (np.asarray(part) for part in answer(x.copy(), kernel.copy(), alpha))
    require(
        np.isfinite(new_x).all() and np.isfinite(new_kernel).all(),
        "a column of x that is all 0 makes s 0 and the result NaN or infinite: let such an input keep s = 1",
    )


@exercise(
    "04b-3",
    "non-inferiority by a margin",
    (
        "Work with the losses, before minus after, one for each picture: -1, 0 or 1; then one more of 1 and of -1.",
        "The mean loss has a standard error: the spread of the losses by the root of their number. What must lie below "
        "the margin?",
        "`lost = before.astype(float) - after`, `more = np.append(lost, [1, -1])`, "
        "`error = more.std() / np.sqrt(len(more))`, then "
        "`return bool(lost.mean() + 1.96 * error < margin)`.",
    ),
)
def non_inferior(answer, rng: np.random.Generator) -> None:
    """`answer(before, after, margin)`: True if after is shown to be at most `margin` worse."""
    cases = [
        (
            20,
            0.0,
            0.0,
            0.01,
            "no answer changed, but with 20 pictures a loss of a point is not excluded: count one more as lost and one "
            "more as won, or the spread is 0",
        ),
        (300, 0.030, 0.030, 0.01, "no difference was *seen*, but with 300 pictures a loss of a point is not excluded"),
        (40000, 0.010, 0.015, 0.01, "half a point is lost for certain, and that is less than the margin of one point"),
        (40000, 0.010, 0.030, 0.01, "two points are lost: more than the margin"),
        (40000, 0.020, 0.010, 0.01, "the new file is better, so it is not worse either"),
        (2000, 0.10, 0.1033, 0.01, "the mean is within the margin, the upper end of its interval is not"),
        (20000, 0.02, 0.025, 0.01, "half a point is lost, and 1.96 standard errors more are within the margin"),
        (
            20000,
            0.02,
            0.028,
            0.01,
            "use both sides of a 95 % interval, 1.96 standard errors: its upper end is what counts",
        ),
    ]
    for n, won, gone, margin, why in cases:
        before, after = _hits(n, won, gone, rng)
        lost = before.astype(float) - after
        more = np.append(lost, [1, -1])
        right = lost.mean() + 1.96 * more.std() / np.sqrt(len(more)) < margin
        got = answer(before.copy(), after.copy(), margin)
        require(isinstance(got, (bool, np.bool_)), f"return True or False; got {got!r}")
        require(bool(got) == bool(right), f"the answer here is {bool(right)}: {why}")


def _hits(n: int, won: float, lost: float, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which of n pictures are right before and after; exactly these parts of them are won and lost."""
    before = np.ones(n, bool)
    gained, gone = round(won * n), round(lost * n)
    before[:gained] = False
    after = before.copy()
    after[:gained] = True
    after[gained : gained + gone] = False
    order = rng.permutation(n)
    return before[order], after[order]
