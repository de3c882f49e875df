"""Checks of chapter @NN@'s exercises."""

from __future__ import annotations

import numpy as np

from utils.study.exercises import exercise, require

HINTS = ("A nudge.", "A step.", "Nearly the answer.")


@exercise("@NN@-1", "what the first is about", HINTS)
def first(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 1, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) != x, f"you gave {x} back unchanged; name the misconception here")
    require(answer(x) == x + 1, f"for {x} the answer is {x + 1}, you returned {answer(x)!r}")


@exercise("@NN@-2", "what the second is about", HINTS)
def second(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 2, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 2, f"for {x} the answer is {x + 2}, you returned {answer(x)!r}")


@exercise("@NN@-3", "what the third is about", HINTS)
def third(answer, rng: np.random.Generator) -> None:
    """`answer(x)`: x + 3, in place of the real thing."""
    x = int(rng.integers(1, 100))
    require(answer(x) == x + 3, f"for {x} the answer is {x + 3}, you returned {answer(x)!r}")
