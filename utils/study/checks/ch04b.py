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
        product = x @ kernel
        require(
            np.allclose(new_x @ new_kernel, product, atol=1e-5 * np.abs(product).max()),  # float32 will do
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
    kernel[2] = 0  # an input that no unit reads
    with np.errstate(all="ignore"):  # the sentence below says it
        new_x, new_kernel = (np.asarray(part) for part in answer(x.copy(), kernel.copy(), alpha))
    require(
        np.isfinite(new_x).all() and np.isfinite(new_kernel).all(),
        "a column of x that is all 0 makes s 0 and the result NaN or infinite, and a row of the kernel that is all 0 "
        "makes it infinite: let such an input keep s = 1",
    )
    live = [i for i in range(len(s)) if i not in (1, 2)]
    require(
        np.allclose(new_x[:, live], x[:, live] / s[live])
        and np.allclose(new_kernel[live], kernel[live] * s[live, None]),
        "one input that is all 0 changes nothing for the others: they are smoothed as before",
    )


@exercise(
    "04b-3",
    "non-inferiority by a margin",
    (
        "Count two kinds of pictures: lost, right before and wrong after, and won. What is the upper end of the "
        "interval of lost - won, as a fraction of all, and where must it lie?",
        "Exact ends, as in `upper_end`: of lost the upper one, `beta.ppf(0.975, lost + 1, n - lost)`, of won the lower "
        "one, `beta.ppf(0.025, won, n - won + 1)`, 0 if none is won.",
        "`n = len(before)`, `lost = np.sum(before & ~after)`, `won = np.sum(~before & after)`, "
        "`most = beta.ppf(0.975, lost + 1, n - lost)`, `least = beta.ppf(0.025, won, n - won + 1) if won else 0`, "
        "`half = np.hypot(most - lost / n, won / n - least)`, then `return bool((lost - won) / n + half < margin)`.",
    ),
)
def non_inferior(answer, rng: np.random.Generator) -> None:
    """`answer(before, after, margin)`: True if after is shown to be at most `margin` worse."""
    few = "so few answers changed that 1.96 standard errors are too short: take the exact ends of what is lost and won"
    cases = [
        (
            20,
            0,
            0,
            0.01,
            "no answer changed, but with 20 pictures a loss of a point is not excluded: "
            "the upper end is 1 - 0.025^(1/20)",
        ),
        (1000, 0, 0, 0.01, "no answer changed, and with 1,000 pictures that excludes a loss of 0.37 points"),
        (100, 1, 2, 0.057, few),
        (300, 0, 3, 0.027, few),
        (300, 9, 9, 0.01, "no difference was *seen*, but with 300 pictures a loss of a point is not excluded"),
        (40000, 400, 600, 0.01, "half a point is lost for certain, and that is less than the margin of one point"),
        (40000, 400, 1200, 0.01, "two points are lost: more than the margin"),
        (40000, 800, 400, 0.01, "the new file is better, so it is not worse either"),
        (2000, 200, 207, 0.01, "the mean is within the margin, the upper end of its interval is not"),
        (20000, 400, 500, 0.01, "half a point is lost, and the interval's half more is within the margin"),
        (300, 9, 9, 0.05, "five points are allowed here: the margin is what is passed"),
        (40000, 400, 600, 0.003, "half a point is lost for certain, and only 0.3 points are allowed here"),
        (20000, 400, 560, 0.01, "use both sides of a 95 % interval, 0.975 and 0.025: its upper end is what counts"),
    ]
    for n, won, lost, margin, why in cases:
        before, after = _hits(n, won, lost, rng)
        right = _upper_end(lost, won, n) < margin
        got = answer(before.copy(), after.copy(), margin)
        require(isinstance(got, (bool, np.bool_)), f"return True or False; got {got!r}")
        require(bool(got) == bool(right), f"{lost} lost, {won} won of {n}: the answer is {bool(right)}: {why}")


def _upper_end(lost: int, won: int, n: int) -> float:
    """Of the 95 % interval of (lost - won) / n, from the exact ends of both."""
    from scipy.stats import beta

    most = beta.ppf(0.975, lost + 1, n - lost)
    least = beta.ppf(0.025, won, n - won + 1) if won else 0
    return float((lost - won) / n + np.hypot(most - lost / n, won / n - least))


def _hits(n: int, won: int, lost: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Which of n pictures are right before and after; exactly so many of them are won and lost."""
    before = np.ones(n, bool)
    before[:won] = False
    after = before.copy()
    after[:won] = True
    after[won : won + lost] = False
    order = rng.permutation(n)
    return before[order], after[order]
