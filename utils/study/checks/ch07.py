"""Checks of chapter 07's exercises."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require

HINTS = (
    "PLACEHOLDER 07: a nudge in the right direction.",
    "PLACEHOLDER 07: a step that leads halfway.",
    "PLACEHOLDER 07: nearly the whole answer.",
)


@exercise("07-1", "PLACEHOLDER 07: what the first exercise is about", HINTS)
def PLACEHOLDER_07_first(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 1, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) != x, f"PLACEHOLDER 07: you gave {x} back unchanged; name the misconception here")
    require(answer(x) == x + 1, f"for {x} the answer is {x + 1}, you returned {answer(x)!r}")


@exercise("07-2", "PLACEHOLDER 07: what the second exercise is about", HINTS)
def PLACEHOLDER_07_second(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 2, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 2, f"PLACEHOLDER 07: for {x} it is {x + 2}, you returned {answer(x)!r}")


@exercise("07-3", "PLACEHOLDER 07: what the third exercise is about", HINTS)
def PLACEHOLDER_07_third(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 3, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 3, f"PLACEHOLDER 07: for {x} it is {x + 3}, you returned {answer(x)!r}")
