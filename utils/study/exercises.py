"""Exercises that check themselves: `check("03-1", my_function)` and `hint("03-1", 1)`.

A check tries the answer on inputs drawn fresh each time and names the misconception behind a wrong
one.  The checks of chapter NN live in `utils/study/checks/chNN.py`, found by that name.
"""

from __future__ import annotations

import dis
import importlib
import re
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from utils.study import progress

_NOTHING = ("RESUME", "NOP", "CACHE", "PRECALL", "COPY_FREE_VARS", "MAKE_CELL", "PUSH_NULL", "RETURN_GENERATOR")
_registered: dict[str, Exercise] = {}


class Misconception(Exception):
    """Raised by a check: the sentence tells the reader what they took for true and what is."""


@dataclass(frozen=True)
class Exercise:
    """One exercise: its check and three hints, from a nudge to nearly the answer."""

    id: str
    title: str
    hints: tuple[str, str, str]
    grade: Callable


@dataclass(frozen=True)
class Verdict:
    """What a check found: `state` is "right", "wrong" or "not attempted"."""

    id: str
    state: str
    message: str

    def __str__(self) -> str:
        return f"{ {'right': '✔', 'wrong': '✘', 'not attempted': '○'}[self.state] } {self.id}  {self.message}"


def exercise(id: str, title: str, hints: tuple[str, str, str]) -> Callable:
    """Register the decorated `grade(answer, rng)` as the check of exercise `id`.

    `grade` returns nothing for a right answer and raises `Misconception` for a wrong one.
    rng: a numpy Generator, seeded anew on each check.
    """
    if not re.fullmatch(r"\d\d[a-z]?-\d+", id):
        raise ValueError(f"an exercise's id is 'NN-k', such as '03-1'; got {id!r}")
    if len(hints) != 3 or not all(isinstance(text, str) and text.strip() for text in hints):
        raise ValueError(f"exercise {id} needs three hints, from a nudge to nearly the answer; got {hints!r}")

    def register(grade: Callable) -> Callable:
        _registered[id] = Exercise(id, title, tuple(hints), grade)
        return grade

    return register


def check(id: str, answer: object) -> None:
    """Print whether `answer` solves exercise `id`; if not, which misconception it shows.

    A solved exercise is remembered in the reader's own copy, see `utils/study/progress.py`.
    """
    verdict = grade(id, answer)
    print(verdict)
    if verdict.state == "right":
        progress.remember(id)


def hint(id: str, number: int = 1) -> None:
    """Print hint 1, 2 or 3 of exercise `id`."""
    hints = find(id).hints
    if number not in (1, 2, 3) or not isinstance(number, int) or isinstance(number, bool):
        raise ValueError(f"exercise {id} has hints 1, 2 and 3; got {number!r}")
    print(f"Hint {number} of 3 for {id}: {hints[number - 1]}")


def grade(id: str, answer: object) -> Verdict:
    """The verdict that `check` prints, for programs."""
    import numpy as np

    found = find(id)
    if is_stub(answer):
        return Verdict(id, "not attempted", f"not attempted yet: {found.title}. For help: hint({id!r})")
    seed = int(np.random.SeedSequence().generate_state(1)[0])
    try:
        found.grade(answer, np.random.default_rng(seed))
    except Misconception as misconception:
        return Verdict(id, "wrong", str(misconception))
    except Exception as error:
        what = "your code" if _came_from(answer, error) else "the check of what you passed or returned"
        return Verdict(id, "wrong", f"{what} stopped with {type(error).__name__}: {error}")
    return Verdict(id, "right", f"right: {found.title}")


def _came_from(answer: object, error: Exception) -> bool:
    """Whether the error came up while the reader's function ran, and not when its result was looked at."""
    code = getattr(answer, "__code__", None)
    if code is None:
        return callable(answer)
    return any(frame.f_code is code for frame, _ in traceback.walk_tb(error.__traceback__))


def find(id: str) -> Exercise:
    """The exercise with this id; an unknown one is answered with those of its chapter."""
    chapter = re.fullmatch(r"(\d\d[a-z]?)-\d+", str(id))
    if not chapter:
        raise ValueError(f"an exercise's id is 'NN-k', such as '03-1'; got {id!r}")
    of_chapter = exercises_of(chapter[1])
    if id not in of_chapter:
        raise ValueError(f"chapter {chapter[1]} has the exercises {list(of_chapter)}; got {id!r}")
    return of_chapter[id]


def exercises_of(chapter: str) -> dict[str, Exercise]:
    """All exercises of chapter "NN", or of a second notebook "NNb", by id, in order."""
    if not re.fullmatch(r"\d\d[a-z]?", str(chapter)):
        raise ValueError(f"a chapter is two digits, such as '03', or '04b'; got {chapter!r}")
    name = f"utils.study.checks.ch{chapter}"
    try:
        importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        raise ValueError(f"chapter {chapter} has no exercises") from None
    return {id: _registered[id] for id in sorted(_registered, key=_number) if id.startswith(f"{chapter}-")}


def _number(id: str) -> tuple[str, int]:
    chapter, exercise = id.split("-")
    return chapter, int(exercise)


def require(condition: object, message: str) -> None:
    """Raise `Misconception(message)` unless `condition` is true."""
    if not condition:
        raise Misconception(message)


def is_stub(answer: object) -> bool:
    """True for `...`, None, a collection with `...` in it, and a function whose body is still to be written."""
    if answer is ... or answer is None:
        return True
    if isinstance(answer, (tuple, list)):
        return any(item is ... for item in answer)
    if isinstance(answer, dict):
        return any(item is ... for item in answer.values())
    return hasattr(answer, "__code__") and _has_no_body(answer)


def _has_no_body(function: Callable) -> bool:
    """Only a docstring, `...`, `pass` or `raise NotImplementedError`; or a line `name = ...` or `return ...`."""
    steps = [step for step in dis.get_instructions(function) if step.opname not in _NOTHING]
    if any(_leaves_gap(step, following) for step, following in pairwise([*steps, None])):
        return True
    if any(step.argval == "NotImplementedError" for step in steps):
        return any(step.opname == "RAISE_VARARGS" for step in steps) and len(steps) <= 5
    returns = [step for step in steps if step.opname not in ("LOAD_CONST", "RETURN_VALUE", "RETURN_CONST")]
    constants = [step.argval for step in steps if step.opname in ("LOAD_CONST", "RETURN_CONST")]
    return not returns and all(value is None for value in constants)


def _leaves_gap(step: dis.Instruction, following: dis.Instruction | None) -> bool:
    """`...` is stored in a name or returned: the reader has not filled this line yet."""
    if step.argval is not ... or not step.opname.startswith(("LOAD_CONST", "RETURN_CONST")):
        return False
    return following is None or following.opname.startswith(("STORE_FAST", "STORE_DEREF", "RETURN"))
