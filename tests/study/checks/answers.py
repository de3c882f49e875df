"""The tests that each chapter's exercises have, made from the right and the wrong answers to them.

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
test_near_misses = answers.near_misses(RIGHT, spared)
test_other_words = answers.other_words(RIGHT, spared)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence

import numpy as np
import pytest

from utils.study.exercises import Misconception, find, grade, hint


def stub(*arguments): ...


def tests(right: Sequence[tuple[str, Callable]], wrong: Sequence[tuple[str, Callable, str]]) -> tuple[Callable, ...]:
    """Tests: solutions pass every time, a stub is not attempted, mistakes are told, and there are three hints.

    right: (exercise, answer that passes).
    wrong: (exercise, answer, pattern of what its misconception is told).  Exercises draw anew: each is graded thrice.
    """
    ids = list(dict.fromkeys(id for id, _ in right))
    missing = set(ids) ^ {id for id, _, _ in wrong}
    assert not missing, f"exercises {sorted(missing)} have right answers or wrong ones only"

    @pytest.mark.parametrize("id, answer", right)
    def solutions(id, answer):
        verdicts = [grade(id, answer) for _ in range(5)]
        assert {verdict.state for verdict in verdicts} == {"right"}, verdicts

    @pytest.mark.parametrize("id", ids)
    def stubs(id):
        verdict = grade(id, stub)
        assert verdict.state == "not attempted", verdict

    @pytest.mark.parametrize("id, answer, misconception", wrong)
    def misconceptions(id, answer, misconception):
        for _ in range(3):
            verdict = grade(id, answer)
            assert verdict.state == "wrong" and re.search(misconception, verdict.message), verdict

    @pytest.mark.parametrize("id", ids)
    def hints(id, capsys):
        for number in (1, 2, 3):
            hint(id, number)
        printed = capsys.readouterr().out
        assert printed.count("Hint") == 3, printed

    return solutions, stubs, misconceptions, hints


# ---------------------------------------------------------------- whatever is drawn


def verdicts(id: str, answer: Callable, draws: int = 5, first: int = 0) -> Iterator[str]:
    """What the check says of an answer for each of so many draws: its sentence, or nothing if that is right."""
    for seed in range(first, first + draws):
        try:
            find(id).grade(answer, np.random.default_rng(seed))
        except Misconception as misconception:
            yield str(misconception)
        else:
            yield ""


def near_misses(right: Sequence[tuple[str, Callable]], spared: Collection[str] = ()) -> Callable:
    """A test that an answer is refused if a single number of it, the first or the last, is a little off.

    spared: exercises whose check allows for more than that, or "09-1" of which only the part "09-1 0" does.
    """
    cases = [
        pytest.param(id, nudged(answer, part, place), id=f"{id}-{part}-{place}")
        for id, answer in dict(reversed(right)).items()
        for part in range(_parts(id, answer))
        for place in (0, -1)
        if not {id, f"{id} {part}"} & {*spared}
    ]

    @pytest.mark.parametrize("id, answer", cases)
    def refused(id, answer):
        assert all(verdicts(id, answer)), "for some draws nothing was said"

    return refused


def other_words(right: Sequence[tuple[str, Callable]], spared: Collection[str] = ()) -> Callable:
    """A test that the same numbers are right whatever carries them: lists, arrays, single precision, NumPy's numbers.

    spared: exercises that take long, or "11-2 arrays" where the type is a part of what is asked.
    """
    cases = [
        pytest.param(id, lambda *a, f=answer, carrier=carrier: _each(carrier, f(*a)), id=f"{id}-{name}")
        for id, answer in dict(reversed(right)).items()
        for name, carrier in _CARRIERS.items()
        if not {id, f"{id} {name}"} & {*spared}
    ]

    @pytest.mark.parametrize("id, answer", cases)
    def accepted(id, answer):
        assert not any(verdicts(id, answer)), [*verdicts(id, answer)]

    return accepted


def nudged(answer: Callable, part: int, place: int) -> Callable:
    """The answer, with one number of one of its parts a little off."""

    def wrong(*arguments):
        made = answer(*arguments)
        if not isinstance(made, tuple):
            return _nudged(made, place)
        return tuple(_nudged(value, place) if i == part else value for i, value in enumerate(made))

    return wrong


def _nudged(value, place: int):
    if isinstance(value, str):
        return f"{value}?"
    if isinstance(value, list):
        return [_nudged(one, place) if i == place % len(value) else one for i, one in enumerate(value)]
    array = np.array(value)
    if np.isin(array, (0, 1)).all() and array.ndim:
        array.flat[place] = 1 - array.flat[place]
    elif array.dtype == bool:
        array = ~array
    elif array.dtype.kind == "i":
        array.flat[place] += 1 if array.flat[place] < 100 else -1
    else:
        array.flat[place] += 0.02 * (np.abs(array).max() or 1)
    return array if array.ndim else array.item()


def _parts(id: str, answer: Callable) -> int:
    """Of how many things an answer is made."""
    seen = []

    def kept(*arguments):
        seen.append(answer(*arguments))
        return seen[-1]

    assert not any(verdicts(id, kept, 1)), id
    return len(seen[0]) if isinstance(seen[0], tuple) else 1


def _each(carrier: Callable, made):
    if isinstance(made, tuple):
        return tuple(_each(carrier, value) for value in made)
    return carrier(made)


def _single(value):
    return np.float32(value) if not isinstance(value, (list, str)) and np.asarray(value).dtype == float else value


_CARRIERS: dict[str, Callable] = {
    "lists": lambda value: value.tolist() if isinstance(value, np.ndarray) else value,
    "arrays": lambda value: np.array(value) if isinstance(value, (int, float)) else value,
    "single precision": _single,
    "NumPy's numbers": lambda value: np.array(value)[()] if isinstance(value, (int, float)) else value,
}
