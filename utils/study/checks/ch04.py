"""Checks of chapter 04's exercises: in and out of an int8 file, where to clip, equalize two layers."""

from __future__ import annotations

import numpy as np

from utils.optimize.quantization.grid import from_range, mse, round_half_away
from utils.optimize.quantization.grid import round_trip as on_grid
from utils.study.exercises import exercise, require


@exercise(
    "04-1",
    "in and out of an int8 file",
    (
        "real = scale · (q − zero point). Solve it for q. What must happen to a q that is no whole number, or beyond "
        "the type?",
        "In: divide by the scale, round, *then* add the zero point, clip to np.iinfo(given['dtype']), cast, invoke. "
        "Out: the formula.",
        "In: `scale, zero_point = given['quantization']`, `limits = np.iinfo(given['dtype'])`, "
        "`levels = np.round(real / scale) + zero_point`, `levels = np.clip(levels, limits.min, limits.max)`, "
        "`stored = invoke(levels.astype(given['dtype']))`. "
        "Out, with the pair of `wanted`: `return scale * (stored.astype(np.float32) - zero_point)`.",
    ),
)
def in_and_out(answer, rng: np.random.Generator) -> None:
    """`answer(real, invoke, given, wanted)`: the file's output as real numbers."""
    for dtype in (np.int8, np.uint8, np.int16):
        given, wanted = _details(dtype, rng), _details(np.int8, rng)
        (scale, zero), info = given["quantization"], np.iinfo(dtype)
        low, high = scale * (info.min - zero), scale * (info.max - zero)
        real = rng.uniform(low - 0.2 * (high - low), high + 0.2 * (high - low), 400).astype(np.float32)
        stored, seen = rng.integers(-128, 128, 400).astype(np.int8), []

        def invoke(x, stored=stored, seen=seen):
            seen.append(np.asarray(x))
            return stored.copy()

        got = answer(real.copy(), invoke, dict(given), dict(wanted))
        require(seen, "invoke was never called: it is the file, and takes and gives integers")
        _check_stored(seen[-1], real, dtype, scale, zero)
        _check_real(np.asarray(got), stored, *wanted["quantization"])


def _details(dtype, rng: np.random.Generator) -> dict:
    """What an interpreter says of one of its ends."""
    info = np.iinfo(dtype)
    zero = 0 if dtype == np.int16 else int(rng.integers(info.min + 30, info.max - 30))
    zero = 30 if dtype == np.int8 and abs(zero) < 5 else zero
    return {"dtype": dtype, "quantization": (np.float32(10 ** rng.uniform(-3, -1)), zero)}


def _check_stored(got: np.ndarray, real, dtype, scale, zero: int) -> None:
    info = np.iinfo(dtype)
    steps = real.astype(np.float64) / scale
    right = np.clip(round_half_away(steps) + zero, info.min, info.max)
    require(got.shape == real.shape, f"{real.shape} numbers go in, {got.shape} came out")
    require(
        got.dtype == dtype,
        f"the file takes {np.dtype(dtype)}, you gave it {got.dtype}: cast it to "
        "given['dtype'], which is not always int8",
    )
    away = np.abs(got.astype(np.float64) - right)
    inside = (right > info.min) & (right < info.max)
    forgotten = np.clip(round_half_away(steps), info.min, info.max)
    require(
        zero == 0 or not np.allclose(got[inside], forgotten[inside], atol=1),
        "you forgot the zero point: the integer that means 0.0 is not 0 here",
    )
    require(
        np.mean(away[~inside] > 1) < 0.5,
        "numbers beyond the range wrapped around: clip to the type's limits before the cast, which does not",
    )
    require(
        np.mean(away[~inside] == 1) < 0.1,
        f"numbers beyond the range end at {info.min} and {info.max}, the type's own limits; yours stop short of them",
    )
    require(
        np.mean(away[inside] > 0) < 0.2 or away[inside].max() > 1,
        "many integers are one off: a cast cuts the fraction off. Round first",
    )
    require(
        away.max() <= 1,
        f"some integers are {int(away.max())} steps away from the nearest one; q = x / scale + zero point",
    )


def _check_real(got: np.ndarray, stored, scale, zero: int) -> None:
    exact = scale * (stored.astype(np.float64) - zero)
    require(got.dtype.kind == "f", f"real numbers are floats; you returned {got.dtype}")
    require(
        zero == 0 or not np.allclose(got, scale * stored.astype(np.float64), rtol=1e-4, atol=scale / 10),
        "back: subtract the zero point before you multiply by the scale",
    )
    wrapped = scale * (stored - np.asarray(zero).astype(stored.dtype)).astype(np.float64)
    require(
        np.allclose(wrapped, exact) or not np.allclose(got, wrapped, atol=scale / 10),
        "back: stored − zero point wraps around in 8 bits; turn stored into float first",
    )
    require(np.allclose(got, exact, rtol=1e-3, atol=scale / 10), "back: real = scale · (stored − zero point)")


@exercise(
    "04-2",
    "where to clip",
    (
        "A wide range rounds all coarsely, a narrow one cuts the tail. What is the sum of both errors for one `high`?",
        "Try many values of `high` below the maximum: round x to the grid of each, take the mean squared error.",
        "Of one `high`: `step = high / (2**bits - 1)`, `on_grid = np.minimum(np.round(x / step), 2**bits - 1) * step`, "
        "`return np.mean((x - on_grid) ** 2)`. With that as `error`: `return min(x.max() * np.linspace(0.005, 1, 300), "
        "key=error)`.",
    ),
)
def where_to_clip(answer, rng: np.random.Generator) -> None:
    """`answer(x, bits)`: the upper end with nearly the least mean squared error."""
    for bits in (2, 3, 4, 4, 6):
        x = np.maximum(rng.standard_t(3, 4000), 0) * 10 ** rng.uniform(-2, 2)
        high = answer(x.copy(), bits)
        require(np.ndim(high) == 0 and np.isreal(high), f"return one number, the upper end; got {high!r:.60}")
        _check_high(float(high), x, bits)


def _check_high(high: float, x: np.ndarray, bits: int) -> None:
    def error(end: float) -> float:
        return mse(x, on_grid(x, from_range(0.0, end, bits)))

    tries = x.max() * np.linspace(0.005, 1, 400)
    best = min(tries, key=error)
    require(np.isfinite(high) and high > 0, f"the upper end is {high}; it must be above 0")
    least, yours = error(best), error(high)
    if yours <= 1.05 * least:
        return
    require(
        not np.isclose(high, x.max(), rtol=0.02),
        "that is the maximum: nothing is clipped, and a few large values make the steps coarse for all others",
    )
    require(
        not any(np.isclose(high, np.percentile(x, p), rtol=1e-3) for p in (90, 95, 99, 99.5, 99.9, 99.99)),
        "that is a percentile. A fixed share knows nothing of the step: with more bits less should be clipped",
    )
    require(
        high > best, f"with {bits} bits you clip too much: the tail's error is squared. Count clipping *and* rounding"
    )
    require(
        False,
        f"with {bits} bits your error is {yours / least:.2f} times the least one; try more candidates "
        "below the maximum",
    )


@exercise(
    "04-3",
    "equalize two dense layers",
    (
        "relu(h / s) · s = relu(h) for s > 0. Which column of w1, entry of b1 and row of w2 belong to one channel?",
        "r1 = abs(w1).max(0), r2 = abs(w2).max(1). Choose s so that r1 / s = r2 · s. What if r1 or r2 is 0?",
        "`r1 = np.abs(w1).max(axis=0)`, `r2 = np.abs(w2).max(axis=1)`, `alive = (r1 > 0) & (r2 > 0)`, `s = "
        "np.ones_like(r1)`, `s[alive] = np.sqrt(r1[alive] / r2[alive])`, `return w1 / s, b1 / s, w2 * s[:, None]`.",
    ),
)
def equalize(answer, rng: np.random.Generator) -> None:
    """`answer(w1, b1, w2)`: the same three, every living channel with the same absmax on both sides."""
    for trial in range(6):
        w1, b1, w2 = rng.normal(size=(5, 8)), rng.normal(size=8), rng.normal(size=(8, 3))
        spread = 10 ** rng.uniform(-2, 2, 8)
        w1, b1 = w1 * spread, b1 * spread
        w1[:, 2] = 0 if trial % 2 else w1[:, 2]
        w2[5] = 0 if trial % 3 == 1 else w2[5]
        got = answer(w1.copy(), b1.copy(), w2.copy())
        require(isinstance(got, tuple | list) and len(got) == 3, "return (w1, b1, w2), in this order")
        _check_equal([np.asarray(part, float) for part in got], w1, b1, w2, rng)


def _check_equal(got: list[np.ndarray], w1, b1, w2, rng) -> None:
    shapes = [part.shape for part in got]
    require(shapes == [(5, 8), (8,), (8, 3)], f"the shapes stay (5, 8), (8,), (8, 3); yours are {shapes}")
    require(
        all(np.isfinite(part).all() for part in got),
        "a channel whose weights are 0 on one side made a division by 0: leave such a channel as it is",
    )
    x = rng.normal(size=(50, 5))

    def network(a, b, c):
        return np.maximum(x @ a + b, 0) @ c

    before = network(w1, b1, w2)
    require(
        not np.allclose(got[1], b1) or np.allclose(got[0], w1) or np.allclose(network(*got), before),
        "the bias stands before the ReLU, as the sum does: divide it by s too, or the function changes",
    )
    require(
        np.allclose(network(*got), before, rtol=1e-6, atol=1e-6 * np.abs(before).max()),
        "the network computes something else now: what divides a column of w1 must multiply the same row of w2",
    )
    r1, r2 = np.abs(got[0]).max(0), np.abs(got[2]).max(1)
    alive = (np.abs(w1).max(0) > 0) & (np.abs(w2).max(1) > 0)
    require(not np.allclose(got[0], w1), "nothing has changed: w1's columns are as uneven as before")
    require(
        not np.allclose(r1[alive], 1) and not np.allclose(r2[alive], 1),
        "one side is level now, the other has all the spread: take the square root, so that both share it",
    )
    require(
        np.allclose(r1[alive], r2[alive], rtol=1e-4),
        "each channel should have the same absmax in w1 and in w2: s = sqrt(r1 / r2)",
    )
