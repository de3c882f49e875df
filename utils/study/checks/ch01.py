"""Checks of chapter 01's exercises: bytes, quantiles, an interval, the Pareto front, a paired test."""

from __future__ import annotations

import gzip
import math

import numpy as np

from utils.study.exercises import exercise, require

Z = 1.959964  # the normal distribution's 97.5 % quantile


@exercise(
    "01-1",
    "a compression ratio with the same treatment on both sides",
    (
        "What happens to the larger file on its way to the phone, and what to the smaller one?",
        "gzip.compress(content, 9) gives the bytes that travel. Count them with len().",
        "`len(gzip.compress(before, 9)) / len(gzip.compress(after, 9))`: how many times smaller it became.",
    ),
)
def fair_ratio(answer, rng: np.random.Generator) -> None:
    """`answer(before, after)`: how many times fewer bytes `after` needs than `before`, both gzipped."""
    for _ in range(10):
        before = rng.normal(0, rng.uniform(0.01, 0.2), size=int(rng.integers(2000, 6000))).astype(np.float32)
        after = np.where(np.abs(before) < np.quantile(np.abs(before), rng.uniform(0.4, 0.9)), np.float32(0), before)
        a, b = before.tobytes(), after.astype(np.float16).tobytes()
        packed_a, packed_b = len(gzip.compress(a, 9)), len(gzip.compress(b, 9))
        right, got = packed_a / packed_b, float(answer(a, b))
        require(not _near(got, packed_b / packed_a), "your ratio is upside down: 4 should mean four times smaller")
        require(not _near(got, len(a) / len(b)), "you compared the raw files; the question is what travels, after gzip")
        require(
            not _near(got, len(a) / packed_b),
            "you compressed only the smaller file: part of your ratio is gzip's work, not the model's",
        )
        require(not _near(got, packed_a / len(b)), "you compressed only the larger file; do the same on both sides")
        require(
            not _near(got, 1 - packed_b / packed_a) and not _near(got, 100 * (1 - packed_b / packed_a)),
            "you returned the share that is saved; a ratio says how many times smaller",
        )
        require(_near(got, right, 0.01), f"the ratio is {right:.3f}, you returned {got:.3f} ({len(a):,} bytes raw)")


@exercise(
    "01-2",
    "median, 90 % and 99 % quantile of warm latencies",
    (
        "The first calls fill caches and allocate memory. Do they belong to the steady state?",
        "Drop the first `warmup` times, in the order in which they were measured. Then look at quantiles, not a mean.",
        "`np.quantile(seconds[warmup:], [0.5, 0.9, 0.99])` has all three.",
    ),
)
def quantiles(answer, rng: np.random.Generator) -> None:
    """`answer(seconds, warmup)`: (median, p90, p99) in seconds of what follows the first `warmup` calls."""
    for _ in range(10):
        warmup = int(rng.integers(20, 40))
        warm = rng.gamma(4, 0.0001, size=400) + 0.0005
        warm[rng.choice(400, size=8, replace=False)] += rng.uniform(0.02, 0.05)
        seconds = np.concatenate([rng.uniform(0.1, 0.3, size=warmup), warm])
        given = seconds.copy()
        got = [float(value) for value in answer(seconds, warmup)]
        require(
            np.array_equal(seconds, given),
            "you changed the list that you were given: sort() works in place, sorted() does not",
        )
        require(len(got) == 3, f"three figures are asked: median, p90, p99; you returned {len(got)}")
        steady = _bands(warm)
        require(
            not _near(got[0], warm.mean()) and not _near(got[0], seconds.mean()),
            "your first figure is the mean: a few slow calls pull it up; the median is the middle call",
        )
        require(
            not _inside(got, _bands(np.sort(seconds)[warmup:])) or _inside(got, steady),
            "you sorted first and then dropped the fastest calls; drop the first in time, then look at quantiles",
        )
        require(
            not (_inside(got, _bands(seconds)) and not _inside(got, steady)),
            "you kept the cold calls: loading and allocation are another figure, so drop the first `warmup` times",
        )
        require(not _inside([value / 1000 for value in got], steady), "you returned milliseconds; seconds were given")
        require(not _inside(got[::-1], steady), "the order is median, p90, p99: from the middle to the tail")
        wanted = np.quantile(warm, [0.5, 0.9, 0.99]).round(6).tolist()
        require(_inside(got, steady), f"median, p90 and p99 are {wanted}, you returned {got}")


@exercise(
    "01-3",
    "an interval for an accuracy",
    (
        "How far can the accuracy on all imaginable pictures be from the one on these? Try 10 right of 10 as well.",
        "The plain formula, p ± 1.96·sqrt(p(1-p)/n), says ± 0 when all are right. Wilson's does not.",
        "`middle = (p + z**2 / (2 * total)) / scale` with `scale = 1 + z**2 / total`, and on both sides of it "
        "`half = z * np.sqrt(p * (1 - p) / total + z**2 / (4 * total**2)) / scale`.",
    ),
)
def interval(answer, rng: np.random.Generator) -> None:
    """`answer(correct, total)`: (low, high), Wilson's 95 % interval, as shares from 0 to 1."""
    cases = [(int(n), int(n)) for n in rng.integers(5, 40, size=3)] + [(0, int(rng.integers(5, 40)))]
    for _ in range(12):
        total = int(rng.integers(20, 10_000))
        cases.insert(0, (int(rng.integers(total // 2, total)), total))
    for correct, total in cases:
        low, high = (float(value) for value in answer(correct, total))
        asked = f"for {correct} right of {total}"
        right = _wilson(correct, total, Z)
        p, deviation = correct / total, math.sqrt(correct / total * (1 - correct / total) / total)
        require(math.isfinite(low) and math.isfinite(high), f"you returned ({low}, {high}), no two numbers ({asked})")
        require(high <= 1.5, f"you returned percent; pass shares from 0 to 1 ({asked})")
        require(high >= low, f"your interval is upside down: low first, then high ({asked})")
        plain = (p - Z * deviation, p + Z * deviation)
        clipped = (max(plain[0], 0.0), min(plain[1], 1.0))
        if 0 < correct < total and not _close((low, high), right):
            one = (p - deviation, p + deviation), _wilson(correct, total, 1.0)
            require(
                not any(_close((low, high), narrow) for narrow in one),
                f"that is one standard error, which covers about 68 of 100; 95 % needs 1.96 of them ({asked})",
            )
            require(
                not _close((low, high), plain) and not _close((low, high), clipped),
                "that is the plain normal formula: with all pictures right it claims ± 0, and near 1 it leaves the "
                f"possible values; use Wilson's ({asked})",
            )
        require(
            _close((low, high), right),
            f"{asked} Wilson's interval is ({right[0]:.4f}, {right[1]:.4f}), you returned ({low:.4f}, {high:.4f})",
        )


@exercise(
    "01-4",
    "which models are on the Pareto front",
    (
        "A model leaves the list only if some other one is at least as good in both and better in one.",
        "For each model, ask of every other: bytes not more, accuracy not less, and not the same in both?",
        "Of the others, `point != (size, accuracy)`, let none be as good: "
        "`not any(s <= size and a >= accuracy for s, a in others)`.",
    ),
)
def front(answer, rng: np.random.Generator) -> None:
    """`answer(sizes, accuracies)`: sorted positions of the models that no other one dominates."""
    for _ in range(10):
        sizes, accuracies = _models(rng)
        right, got = _front(sizes, accuracies), answer(list(sizes), list(accuracies))
        try:
            got = sorted(int(i) for i in got)
        except TypeError:
            require(False, f"return the positions, such as [0, 2], not {got!r}")
        require(
            all(0 <= i < len(sizes) for i in got), f"positions run from 0 to {len(sizes) - 1} here; you returned {got}"
        )
        if got != right:
            _name_wrong_front(got, right, sizes, accuracies)


@exercise(
    "01-5",
    "McNemar's exact test of two classifiers",
    (
        "Only pictures on which exactly one is right tell A from B. If neither is better, each of them is a fair coin.",
        "There are only_a + only_b coins: add up the ways, math.comb, that are as uneven as what was seen, or more.",
        "`ways = sum(comb(coins, k) for k in range(fewer + 1))`, where `fewer = min(only_a, only_b)`; then "
        "`min(1, 2 * ways / 2**coins)`.",
    ),
)
def paired_test(answer, rng: np.random.Generator) -> None:
    """`answer(only_a, only_b)`: the exact two-sided p of so many pictures on which only A, and only B, is right."""
    cases = [(int(n), int(n)) for n in rng.integers(1, 30, size=2)] + [(0, 0), (0, int(rng.integers(4, 12)))]
    for _ in range(12):
        fewer = int(rng.integers(1, 40))
        case = (fewer, fewer + int(rng.integers(2, 25)))
        cases.insert(0, case if rng.random() < 0.5 else case[::-1])
    for only_a, only_b in cases:
        got, right = float(answer(only_a, only_b)), _mcnemar(only_a, only_b)
        asked = f"for {only_a} and {only_b}"
        require(math.isfinite(got), f"p is a number from 0 to 1, you returned {got} ({asked})")
        if _same(got, right):
            continue
        require(not _same(got, 100 * right), f"you returned percent; p goes from 0 to 1 ({asked})")
        n, k = only_a + only_b, min(only_a, only_b)
        tail = sum(math.comb(n, i) for i in range(k + 1)) / 2**n
        require(
            got <= 1 + 1e-9,
            f"p is at most 1, you returned {got:.4g}: with equal counts the two tails share the middle ({asked})",
        )
        require(n > 0, f"with no picture on which they differ nothing speaks against equality: p is 1 ({asked})")
        require(
            not _same(got, tail), f"that is one side: either of the two may be the better one, so double it ({asked})"
        )
        require(
            not any(_same(got, factor * math.comb(n, k) / 2**n) for factor in (1, 2)),
            f"you counted exactly this outcome; p counts all that are at least as uneven ({asked})",
        )
        require(
            not any(_same(got, 2 * (tail - math.comb(n, i) / 2**n)) for i in (0, k)),
            f"the sum runs from 0 up to and including the smaller count ({asked})",
        )
        require(
            not any(_same(got, math.erfc(math.sqrt(value / 2))) for value in _chi_squares(only_a, only_b)),
            f"that is the chi-squared approximation, which is far off for few pictures; add up coins ({asked})",
        )
        require(_same(got, right), f"{asked} p is {right:.6f}, you returned {got:.6f}")


def _mcnemar(only_a: int, only_b: int) -> float:
    """McNemar 1947, exact: two-sided binomial test with probability 1/2."""
    n, k = only_a + only_b, min(only_a, only_b)
    return min(1.0, 2 * sum(math.comb(n, i) for i in range(k + 1)) / 2**n)


def _chi_squares(only_a: int, only_b: int) -> tuple[float, float]:
    """Without and with Edwards' correction of continuity."""
    n, distance = only_a + only_b, abs(only_a - only_b)
    return distance**2 / n, max(distance - 1, 0) ** 2 / n


def _same(got: float, right: float) -> bool:
    return abs(got - right) <= 1e-6 * right + 1e-12


def _models(rng: np.random.Generator) -> tuple[list[int], list[float]]:
    """A front of four, a twin of one of them, and models that are dominated in one or in both respects."""
    size = np.sort(rng.choice(np.arange(2, 40), size=4, replace=False)) * 100
    accuracy = np.sort(rng.choice(np.arange(82, 98), size=4, replace=False))
    points = [(int(s), int(a)) for s, a in zip(size, accuracy, strict=True)]
    points += [points[1], (points[2][0], points[2][1] - 1), (points[0][0] + 50, points[0][1]), (points[3][0] + 100, 80)]
    points = [points[i] for i in rng.permutation(len(points))]
    return [s for s, _ in points], [a / 100 for _, a in points]


def _name_wrong_front(got: list[int], right: list[int], sizes: list, accuracies: list) -> None:
    asked = f"sizes {sizes}, accuracies {accuracies}"
    points = list(zip(sizes, accuracies, strict=True))
    require(got, f"you returned no position; the smallest model is always on the front ({asked})")
    extremes = [i for i, (s, a) in enumerate(points) if s == min(sizes) or a == max(accuracies)]
    require(
        not set(got) <= set(extremes),
        f"you kept only the smallest and the most accurate; what lies between may be undominated ({asked})",
    )
    weak = [i for i, (s, a) in enumerate(points) if not any(t < s and b > a for t, b in points)]
    require(
        got != weak,
        "you ask the other to be better in both; equal in one and better in the other dominates as "
        f"well: {sorted(set(weak) - set(right))} should go ({asked})",
    )
    require(
        got not in (_front([-s for s in sizes], accuracies), _front(sizes, [-a for a in accuracies])),
        f"one direction is turned round: fewer bytes and more accuracy are better ({asked})",
    )
    alone = [i for i in right if points.count(points[i]) == 1]
    require(got != alone, f"two equal models have thrown each other out; neither dominates the other ({asked})")
    same_models = {points[i] for i in got} == {points[i] for i in right}
    require(
        not same_models or len(got) > len(right), f"of two equal models you kept one; the other is as good ({asked})"
    )
    require(False, f"the front is {right}, you returned {got} ({asked})")


def _front(sizes, accuracies) -> list[int]:
    points = list(zip(sizes, accuracies, strict=True))
    return [
        i
        for i, (size, accuracy) in enumerate(points)
        if not any(s <= size and a >= accuracy and (s, a) != (size, accuracy) for s, a in points)
    ]


def _wilson(correct: int, total: int, z: float) -> tuple[float, float]:
    """Wilson 1927, "Probable inference, the law of succession, and statistical inference"."""
    p, scale = correct / total, 1 + z * z / total
    center = (p + z * z / (2 * total)) / scale
    half = z * math.sqrt(p * (1 - p) / total + z * z / (4 * total * total)) / scale
    return center - half, center + half


def _close(got: tuple[float, float], right: tuple[float, float]) -> bool:
    """Equal but for z = 1.96 instead of 1.959964; the narrowest interval asked for is some 0.01 wide."""
    return all(abs(a - b) < 2e-5 for a, b in zip(got, right, strict=True))


def _bands(seconds: np.ndarray) -> list[tuple[float, float]]:
    """Each quantile between the neighbouring times: any common way to interpolate is accepted."""
    asked = [0.5, 0.9, 0.99]
    low, high = (np.quantile(seconds, asked, method=method) for method in ("lower", "higher"))
    below, above = (
        np.quantile(seconds, np.clip(np.array(asked) + s / len(seconds), 0, 1), method=m)
        for s, m in ((-1, "lower"), (1, "higher"))
    )
    return [(min(a, b), max(c, d)) for a, b, c, d in zip(low, below, high, above, strict=True)]


def _inside(got: list[float], bands: list[tuple[float, float]]) -> bool:
    return all(low - 1e-9 <= value <= high + 1e-9 for value, (low, high) in zip(got, bands, strict=True))


def _near(a: float, b: float, relative: float = 1e-4) -> bool:
    return abs(a - b) <= relative * abs(b)
