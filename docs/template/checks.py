"""Checks of chapter @NN@'s exercises."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require

HINTS = (
    "PLACEHOLDER @NN@: a nudge in the right direction.",
    "PLACEHOLDER @NN@: a step that leads halfway.",
    "PLACEHOLDER @NN@: nearly the whole answer.",
)


@exercise("@NN@-1", "PLACEHOLDER @NN@: what the first exercise is about", HINTS)
def PLACEHOLDER_@NN@_first(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 1, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) != x, f"PLACEHOLDER @NN@: you gave {x} back unchanged; name the misconception here")
    require(answer(x) == x + 1, f"for {x} the answer is {x + 1}, you returned {answer(x)!r}")


@exercise("@NN@-2", "PLACEHOLDER @NN@: what the second exercise is about", HINTS)
def PLACEHOLDER_@NN@_second(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 2, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 2, f"PLACEHOLDER @NN@: for {x} it is {x + 2}, you returned {answer(x)!r}")


@exercise("@NN@-3", "PLACEHOLDER @NN@: what the third exercise is about", HINTS)
def PLACEHOLDER_@NN@_third(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 3, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 3, f"PLACEHOLDER @NN@: for {x} it is {x + 3}, you returned {answer(x)!r}")
