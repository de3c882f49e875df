"""A mark that was moved, a number that was changed and a hint that leads elsewhere are noticed."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.course.notebooks import Notebook
from tests.course.quiz_rules import (
    computed,
    feedback_agrees,
    feedback_worked,
    last_hint_leads_there,
    numbers_computed,
    solution_worked,
)


def question(*options, type="multiple_choice", **more) -> dict:
    """options: (answer, correct, feedback)."""
    answers = [{"answer": a, "correct": c, "feedback": f} for a, c, f in options]
    return {"question": "How many dB?", "type": type, "answers": answers, **more}


DECIBELS = question(("about 35", False, "1 dB a bit."), ("about 20", True, "Yes: 6 dB a bit."), computed="38 - 3 * 6")


def test_a_good_question_breaks_no_rule():
    assert feedback_agrees([DECIBELS]) == numbers_computed([DECIBELS]) == []


@pytest.mark.parametrize("word", ["Yes.", "Right:", "Correct, since"])
def test_feedback_that_agrees_belongs_to_right_options(word):
    right, wrong = ("a", True, f"{word} it is so"), ("b", False, "No, it is not")
    assert feedback_agrees([question(right, wrong)]) == []
    moved = question(("a", False, right[2]), ("b", True, wrong[2]))
    assert [text[:15] for text in feedback_agrees([moved])] == ["question 1, 'a'", "question 1, 'b'"]
    assert len(feedback_agrees([question(right, ("b", False, f"{word} so"))])) == 1
    assert len(feedback_agrees([question(("a", True, "It is so"), wrong)])) == 1
    assert len(feedback_agrees([question(("a", True, "Yesterday"), wrong)])) == 1


@pytest.mark.parametrize(
    "changed, says",
    [
        (question(("35", True, "Yes"), ("20", False, "no"), computed="38 - 3 * 6"), "'35' is marked as right"),
        (question(("35", True, "Yes"), ("20", False, "no"), computed="38 - 3 * 6"), "'20' is marked as wrong"),
        (question(("35", False, "no"), ("21", True, "Yes"), computed="38 - 3 * 6"), "'21' is marked as right"),
        (question(("35", False, "no"), ("20", True, "Yes"), computed="38 - 3 * 5"), "'20' is marked as right"),
        (question(("35", False, "no"), ("20", True, "Yes")), 'add `"computed": "…"`'),
        (question(("2.5", True, "Yes"), ("2.4", False, "no"), computed="2.44"), "'2.5' is marked as right"),
        (question(("35", False, "no"), ("20", True, "Yes"), computed="len('x')"), "write nothing else"),
        (question(("35", False, "no"), ("20", True, "Yes"), computed="1 / 0"), "cannot be worked out"),
    ],
)
def test_numbers_that_are_not_what_is_computed(changed, says):
    assert any(says in text for text in numbers_computed([DECIBELS, changed])), numbers_computed([changed])
    assert all(text.startswith("question 2") for text in numbers_computed([DECIBELS, changed]))


@pytest.mark.parametrize(
    "other",
    [
        question(("5 to 6", False, "no"), ("0 to 6", True, "Yes")),  # ranges
        question(("above=0.0", True, "Yes"), ("above=0.88", False, "no")),
        question(("All", False, "no"), ("4", True, "Yes")),
        question(("4 times", True, "Yes"), ("3", True, "Yes"), type="many_choice"),
    ],
)
def test_questions_that_ask_for_no_number(other):
    assert numbers_computed([other]) == []


def test_a_numeric_question_is_computed_too():
    two = {"question": "How many?", "type": "numeric", "answers": [
        {"type": "value", "value": 2, "correct": True, "feedback": "Yes"}, {"type": "default", "feedback": "Count."},
    ]}  # fmt: skip
    assert len(numbers_computed([two])) == 1
    assert numbers_computed([{**two, "computed": "3 - 1"}]) == []
    assert len(numbers_computed([{**two, "computed": "3 + 1"}])) == 1


@pytest.mark.parametrize("formula, good", [("2 / 2**6 * 100", True), ("2 / 2**5 * 100", False)])
def test_a_range_holds_what_is_computed(formula, good):
    p = {"question": "p in percent?", "type": "numeric", "computed": formula, "answers": [
        {"type": "range", "range": [3.05, 3.2], "correct": True, "feedback": "Yes"},
        {"type": "default", "feedback": "Count."},
    ]}  # fmt: skip
    assert (numbers_computed([p]) == []) is good


@pytest.mark.parametrize("text, value", [("2**3 - 1", 7), ("-(4 // 3) % 5", 4), ("1.5 * 2", 3), (20, 20)])
def test_plain_arithmetic(text, value):
    assert computed(text) == value


SOLUTION = """
def answer(x, bits):
    scale = (high - low) / (2**bits - 1)
    return np.clip(np.round(x / scale), -128, 127)
"""


@pytest.mark.parametrize(
    "hint",
    [
        "Divide: `scale = (high-low) / (2**bits - 1)`.",
        "`np.round(x / scale)`, clipped to −128 and 127.",
        "`scale = (high - low) / (2**bits - 1); np.round(x / scale)`",
        "Round, then clip.",
    ],
)
def test_hints_that_lead_to_the_solution(hint):
    assert last_hint_leads_there(hint, SOLUTION) == []


@pytest.mark.parametrize(
    "hint, says",
    [
        ("Divide: `scale = (high + low) / (2**bits - 1)`.", "would be `scale = (high - low)"),
        ("Divide: `scale = (high - low) / 2**bits`.", "would be `scale = (high - low)"),
        ("Clip to −128 and 126.", "the number 126"),
        ("scale = high - low", "in backticks"),
        ("Take np.floor(x).", "in backticks"),
    ],
)
def test_hints_that_lead_elsewhere(hint, says):
    assert any(says in text for text in last_hint_leads_there(hint, SOLUTION))


def notebook(*cells, folder="notebooks") -> Notebook:
    return Notebook("03_x.ipynb", folder, new_notebook(cells=list(cells)))


_CLAIM = {"kind": "claim", "id": "Q3-bytes", "sentence": "It is less", "bound": {"below": 0.3}, "figure": "0.262"}
PRINTS = notebook(
    new_code_cell("x = 0.62", outputs=[new_output("stream", name="stdout", text="0.7 and 141.5 µs")]),
    new_code_cell("claim", outputs=[new_output("display_data", metadata={"course": _CLAIM})]),
)


@pytest.mark.parametrize(
    ("feedback", "more", "good"),
    [
        ("Yes: 0.26 of the bytes.", {}, True),  # the chapter claims it
        ("Yes: 0.62 of the bytes.", {}, False),  # a setting of the code
        ("Yes: 0.7 of the bytes.", {}, False),  # printed, of whatever
        ("Yes: 35 dB, not 20 dB.", {}, True),  # two options
        ("Yes: 0.16 against 0.18.", {"worked": ["0.8 ** 2 / 4", "0.6 ** 2 / 2"]}, True),
        ("Yes: 0.61 against 0.18.", {"worked": ["0.8 ** 2 / 4", "0.6 ** 2 / 2"]}, False),
        ("Yes: 7.5 dB.", {"computed": "15 / 2"}, True),
    ],
)
def test_figures_of_feedback_that_nothing_works_are_noticed(feedback, more, good):
    asked = question(("about 35", False, "No."), ("about 20", True, feedback), **more)
    found = feedback_worked([asked], PRINTS)
    assert (found == []) == good and all(text.startswith("question 1, 'about 20'") for text in found)


@pytest.mark.parametrize(
    ("text", "good"),
    [
        ("It takes 141.5 µs.", True),
        ("It takes 114.5 µs.", False),
        ("It takes 114.5 µs ([paper](https://example.org/a)).", True),
        ("It is 0.75.", True),  # of the solution's own code
    ],
)
def test_figures_of_solutions_that_nothing_works_are_noticed(text, good):
    nb = notebook(new_markdown_cell(text), new_code_cell("own = 0.75"), folder="solutions")
    assert (solution_worked(nb, PRINTS) == []) == good
