"""Exercises tell right, wrong and not attempted apart, and name the misconception."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType

import numpy as np
import pytest

from utils.study import exercises
from utils.study.exercises import Misconception, check, exercise, grade, hint, is_stub, require

HINTS = ("What does zero mean?", "Round the scale's quotient.", "zero_point = round(-low / scale)")


@pytest.fixture(autouse=True)
def chapter_98(monkeypatch):
    """A chapter of its own: two exercises, of which the second comes as number ten."""
    monkeypatch.setitem(sys.modules, "utils.study.checks.ch98", ModuleType("utils.study.checks.ch98"))
    monkeypatch.setattr(exercises, "_registered", {})

    @exercise("98-10", "say anything", HINTS)
    def anything(answer, rng):
        pass

    @exercise("98-2", "double it", HINTS)
    def double(answer, rng):
        x = float(rng.normal())
        require(isinstance(answer(x), float), "you return something else than a float")
        if answer(x) == x * x:
            raise Misconception("doubling is not squaring")
        require(answer(x) == 2 * x, f"twice {x:.3f} is {2 * x:.3f}")


def _deeper(x):
    return [y / 0 for y in (x,)]


class _Odd(float):
    def __eq__(self, other):
        raise ArithmeticError("odd")

    __hash__ = None


def test_right():
    assert grade("98-2", lambda x: x + x).state == "right"


@pytest.mark.parametrize(
    "answer, message",
    [
        (lambda x: x * x, "doubling is not squaring"),
        (lambda x: 2, "something else than a float"),
        (lambda x: 3 * x, "twice"),
        (lambda x: x / 0, "your code stopped with ZeroDivisionError"),
        (lambda x: _deeper(x), "your code stopped with ZeroDivisionError"),
        (partial(_deeper), "your code stopped with ZeroDivisionError"),
        (lambda: 2, "the check of what you passed or returned stopped with TypeError"),
        ("a string", "passed or returned stopped with TypeError"),
        (0, "passed or returned stopped with TypeError"),
        (lambda x: _Odd(x), "passed or returned stopped with ArithmeticError: odd"),
    ],
)
def test_wrong_answers_are_told_why(answer, message):
    verdict = grade("98-2", answer)
    assert verdict.state == "wrong" and message in verdict.message


def _docstring_only(x):
    """Double x."""


def _dots(x):
    """Double x."""
    ...


def _pass(x):
    pass


def _not_implemented(x):
    raise NotImplementedError


def _not_implemented_said(x):
    raise NotImplementedError("your turn")


def _not_implemented_said_twice(x):
    raise NotImplementedError("your turn", "now")


def _returns_none(x):
    return None


def _returns_dots(x):
    return ...


def _gap(x):
    factor = ...
    return factor * x


@pytest.mark.parametrize(
    "stub",
    [
        _docstring_only,
        _dots,
        _pass,
        _not_implemented,
        _not_implemented_said,
        _not_implemented_said_twice,
        _returns_none,
        _returns_dots,
        _gap,
        lambda x: ...,
        ...,
        None,
        (1, ...),
        [...],
        {"scale": ...},
        {"scale": ..., "zero_point": 0},
        [1, ..., 2],
    ],
    ids=lambda stub: getattr(stub, "__name__", str(stub)),
)
def test_stubs_are_not_attempted(stub):
    assert is_stub(stub)
    assert grade("98-10", stub).state == "not attempted"


def _uses_dots(x):
    return x[..., 0]


def _raises_something(x):
    if x < 0:
        raise NotImplementedError("negative")
    return x


def _passes_dots(x):
    return x.__getitem__(...)


def _begun(x):
    y = x + 1  # noqa: F841
    raise NotImplementedError


def _prints(x):
    print(x)


def _two():
    return 2


@pytest.mark.parametrize(
    "answer",
    [
        _uses_dots,
        _raises_something,
        _passes_dots,
        _begun,
        _prints,
        _two,
        lambda x: x,
        len,
        np.zeros(3),
        0,
        "",
        False,
        (1, 2),
        (np.zeros(2), np.ones(2)),
        {"a": np.zeros(2)},
        [],
        float,
    ],
)
def test_attempts_are_not_stubs(answer):
    assert not is_stub(answer)


def test_a_method_can_be_a_stub():
    class Answer:
        def empty(self): ...

        def full(self):
            return self

    assert is_stub(Answer().empty) and not is_stub(Answer().full)


def test_inputs_are_drawn_fresh_each_time():
    seen = set()
    for _ in range(3):
        grade("98-2", lambda x: seen.add(x) or 2 * x)
    assert len(seen) == 3


def test_the_readers_own_random_numbers_are_left_alone():
    np.random.seed(3)
    expected = np.random.rand()
    np.random.seed(3)
    grade("98-2", lambda x: 2 * x)
    assert np.random.rand() == expected


@pytest.mark.parametrize("answer, sign", [(lambda x: 2 * x, "✔"), (lambda x: 3 * x, "✘"), (..., "○")])
def test_check_prints_one_line(capsys, answer, sign):
    check("98-2", answer)
    out = capsys.readouterr().out
    assert out.startswith(f"{sign} 98-2  ") and out.count("\n") == 1


def test_not_attempted_points_to_the_hint(capsys):
    check("98-2", ...)
    assert "hint('98-2')" in capsys.readouterr().out


@pytest.mark.parametrize("number", [1, 2, 3])
def test_hints(capsys, number):
    hint("98-2", number)
    assert capsys.readouterr().out == f"Hint {number} of 3 for 98-2: {HINTS[number - 1]}\n"


@pytest.mark.parametrize("number", [0, 4, "1", None, 1.0, True, [1]])
def test_there_are_three_hints(number):
    with pytest.raises(ValueError, match="hints 1, 2 and 3"):
        hint("98-2", number)


def test_exercises_come_in_their_order():
    assert list(exercises.exercises_of("98")) == ["98-2", "98-10"]


@pytest.mark.parametrize(
    "id, message",
    [
        ("98-3", r"has the exercises \['98-2', '98-10'\]"),
        ("3-1", "'NN-k'"),
        ("98", "'NN-k'"),
        (98, "'NN-k'"),
        ("97-1", "chapter 97 has no exercises"),
        ("../x", "'NN-k'"),
    ],
)
def test_unknown_ids_are_answered(id, message):
    with pytest.raises(ValueError, match=message):
        check(id, ...)


@pytest.mark.parametrize("chapter", ["3", "../x", "", "ch03", 3])
def test_a_chapter_is_two_digits(chapter):
    with pytest.raises(ValueError, match="two digits"):
        exercises.exercises_of(chapter)


@pytest.mark.parametrize(
    "id, hints",
    [("98-1", ("one", "two")), ("98-1", ("a", "b", " ")), ("98-1", ("a", "b", 3)), ("981", HINTS), ("98-", HINTS)],
)
def test_registering_needs_an_id_and_three_hints(id, hints):
    with pytest.raises(ValueError, match=r"three hints|'NN-k'"):
        exercise(id, "title", hints)


def test_a_check_that_cannot_be_imported_says_so(monkeypatch):
    def broken(name):
        raise ModuleNotFoundError("no module named 'tensorflow'", name="tensorflow")

    monkeypatch.setattr(exercises.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="tensorflow"):
        exercises.exercises_of("98")


def _closure_stub():
    kept = 1

    def answer(x):
        nonlocal kept
        ...

    return answer


def _cell_stub(x):
    raise NotImplementedError
    return lambda: x


def _with_default_gap(x, factor=...):
    return x * factor


def _names_the_error(x):
    return NotImplementedError


def _gap_for_an_inner_function(x):
    factor = ...
    return lambda: factor * x


@pytest.mark.parametrize("stub", [_closure_stub(), _cell_stub, _gap_for_an_inner_function])
def test_stubs_that_share_variables_with_other_functions(stub):
    assert is_stub(stub)


@pytest.mark.parametrize("answer", [_with_default_gap, _names_the_error, {"a": 1}, {}, {...: 1}, [None], [[...]]])
def test_what_only_looks_like_a_stub(answer):
    assert not is_stub(answer)


def test_require_says_its_sentence_only_where_the_condition_is_false():
    require([1], "never said")
    for nothing in (False, 0, [], None, np.bool_(False)):
        with pytest.raises(Misconception, match="said"):
            require(nothing, "said")


def test_exercises_of_a_chapter_are_not_those_of_its_second_notebook(monkeypatch):
    monkeypatch.setitem(sys.modules, "utils.study.checks.ch98b", ModuleType("utils.study.checks.ch98b"))
    exercise("98b-1", "of the second notebook", HINTS)(lambda answer, rng: None)
    assert list(exercises.exercises_of("98")) == ["98-2", "98-10"] and list(exercises.exercises_of("98b")) == ["98b-1"]
    assert exercises.find("98b-1").title == "of the second notebook"


def test_an_exercise_keeps_what_it_was_registered_with():
    found = exercises.find("98-2")
    assert (found.id, found.title, found.hints) == ("98-2", "double it", HINTS)
    assert grade("98-2", lambda x: 2 * x).message == "right: double it"
    with pytest.raises(AttributeError):
        found.title = "another"


def test_the_first_hint_is_given_if_no_number_is(capsys):
    hint("98-2")
    assert capsys.readouterr().out.startswith("Hint 1 of 3")
