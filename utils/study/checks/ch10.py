"""Checks of chapter 10's exercises."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require

HINTS = (
    "PLACEHOLDER 10: a nudge in the right direction.",
    "PLACEHOLDER 10: a step that leads halfway.",
    "PLACEHOLDER 10: nearly the whole answer.",
)


@exercise("10-1", "PLACEHOLDER 10: what the first exercise is about", HINTS)
def PLACEHOLDER_10_first(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 1, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) != x, f"PLACEHOLDER 10: you gave {x} back unchanged; name the misconception here")
    require(answer(x) == x + 1, f"for {x} the answer is {x + 1}, you returned {answer(x)!r}")


@exercise("10-2", "PLACEHOLDER 10: what the second exercise is about", HINTS)
def PLACEHOLDER_10_second(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 2, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 2, f"PLACEHOLDER 10: for {x} it is {x + 2}, you returned {answer(x)!r}")


@exercise("10-3", "PLACEHOLDER 10: what the third exercise is about", HINTS)
def PLACEHOLDER_10_third(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 3, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 3, f"PLACEHOLDER 10: for {x} it is {x + 3}, you returned {answer(x)!r}")
