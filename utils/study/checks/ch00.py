"""Checks of chapter 00's exercises: sizes, brackets, bounds."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from utils.study.exercises import exercise, require


@exercise(
    "00-1",
    "the bytes of a network's parameters",
    (
        "A dense layer from a inputs to b outputs has a matrix and a bias. How many numbers is each?",
        "float32 means 32 bits a number, int8 means 8. A byte has 8 bits.",
        "`numbers = sum(a * b + b for a, b in zip(widths, widths[1:]))`, and then `numbers * bits // 8`.",
    ),
)
def parameter_bytes(answer, rng: np.random.Generator) -> None:
    """`answer(widths, bits)`: bytes of a dense network with these layer widths, biases included."""
    for _ in range(20):
        widths = [int(n) for n in rng.integers(2, 400, size=rng.integers(2, 6))]
        bits = int(rng.choice([8, 16, 32]))
        weights = sum(a * b for a, b in pairwise(widths))
        biases = sum(widths[1:])
        right = (weights + biases) * bits // 8
        got = answer(widths, bits)
        asked = f"for widths {widths} and {bits} bits"
        require(got != weights * bits // 8, f"you left out the biases: every output of a layer has one ({asked})")
        require(got != (weights + biases) * bits, f"you returned bits; a byte has eight of them ({asked})")
        every_width = (weights + sum(widths)) * bits // 8
        require(got != every_width, f"the input has no bias: only layers have ({asked})")
        counted = bits != 8 and got == weights + biases
        require(not counted, f"you returned the number of parameters, not their bytes ({asked})")
        require(got == right, f"{asked} the answer is {right}, you returned {got!r}")


@exercise(
    "00-2",
    "comparing outputs outside of the brackets",
    (
        "What a bracket holds must not matter; everything else must be equal to the letter.",
        "re.sub can replace each bracket, on both sides, by the same sign. Then compare.",
        'The pattern ⟦.*⟧ runs to the last ⟧. `re.sub("⟦[^⟧]*⟧", "⟦⟧", text)`, on both sides; then `stored == new`.',
    ),
)
def same_outside_brackets(answer, rng: np.random.Generator) -> None:
    """`answer(stored, new)`: True if the two outputs differ at most inside ⟦…⟧."""
    for _ in range(20):
        a, b, c, d = (f"{value:.3f}" for value in rng.uniform(0, 10, size=4))
        pairs = [
            (f"size ⟦{a}⟧", f"size ⟦{a}⟧", True, "equal outputs are not the same for you"),
            (
                f"size ⟦{a}⟧",
                f"size ⟦{c}1⟧",
                True,
                "you compare what stands in the brackets too: another machine would never pass",
            ),
            (
                f"{a} rows ⟦{b}⟧",
                f"{a}9 rows ⟦{b}⟧",
                False,
                "you let every digit vary; only those in brackets may: a wrong figure outside would pass",
            ),
            (
                f"⟦{a}⟧ of ⟦{b}⟧",
                f"⟦{c}⟧ times ⟦{d}⟧",
                False,
                "your pattern runs from the first ⟦ to the last ⟧ and swallows the words between two brackets",
            ),
            (f"size ⟦{a}⟧", "size ", False, "a figure that vanished altogether must be noticed"),
            (f"⟦{a}⟧", f"⟦{a}⟧ ✘", False, "what is added behind the last bracket must be noticed"),
        ]
        for stored, new, right, why in pairs:
            require(bool(answer(stored, new)) == right, f"{why}: {stored!r} and {new!r}")


@exercise(
    "00-3",
    "a bound that holds for the next seed and can still fail",
    (
        "Five runs show how much a figure varies. A sixth falls outside of their smallest and largest: how often?",
        "A prediction interval is mean ± t·s·√(1 + 1/n); for five figures and 95 % Student's t is 2.78.",
        "Together they make 3.04: `return middle - 3.04 * spread, middle + 3.04 * spread`, "
        "with `np.mean(figures), np.std(figures, ddof=1)`.",
    ),
)
def honest_bound(answer, rng: np.random.Generator) -> None:
    """`answer(figures)`: (low, high) that a next run of the same kind satisfies about 19 times in 20."""
    inside, width, trials = 0, [], 2000
    for _ in range(trials):
        center, spread = rng.uniform(0.5, 0.9), rng.uniform(0.001, 0.02)
        *figures, following = rng.normal(center, spread, size=6)
        low, high = answer([float(figure) for figure in figures])
        require(math.isfinite(low) and math.isfinite(high), "an infinite bound can never fail, so it says nothing")
        require(low < high, f"a bound is (low, high) with low below high; you returned {(low, high)!r}")
        inside += low <= following <= high
        width.append((high - low) / spread)
    share = inside / trials
    missed = f"{1 - share:.0%} of the time"
    require(share > 0.5, f"the next run falls outside of your bound {missed}; measure the spread of the runs")
    require(share > 0.75, f"the smallest and largest of five runs are no bound: the sixth falls outside {missed}")
    require(share > 0.92, f"your bound fits the five runs you have; the next one falls outside {missed}")
    wide = float(np.median(width))
    require(wide < 12, f"your bound is {wide:.0f} standard deviations wide: nearly nothing could break it")
