"""Mistakes invented by somebody who did not write the tests: `python course.py bench mutants --only foreign`.

Add one: the file, a text that stands in it exactly once, what is written instead, and the test files that should
notice, best the one that mirrors the module.  Plant what a tired colleague would write, each in another way.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mistake:
    """A mistake.  tests: files of tests, or single tests as pytest names them, relative to the repository."""

    file: str
    old: str
    new: str
    tests: tuple[str, ...]


MISTAKES = (
    Mistake("utils/measure/cost.py", '"float16": 1.1 + 0.4', '"float16": 1.1 + 0.9', ("tests/measure/test_cost.py",)),
    Mistake(
        "utils/optimize/quantization/equalization.py",
        "_K.Flatten,",
        "_K.Flatten, _K.LayerNormalization,",
        ("tests/optimize/quantization/test_equalization.py",),
    ),
    Mistake(
        "CONTRIBUTING.md", "| its solutions | 40 |", "| its solutions | 45 |", ("tests/course/test_contributing.py",)
    ),
)
