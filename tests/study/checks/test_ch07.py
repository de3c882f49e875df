"""The checks of chapter 07 accept right answers and name the misconception of wrong ones."""

import re

import pytest

from utils.study.exercises import grade

RIGHT = [("07-1", lambda x: x + 1), ("07-2", lambda x: x + 2), ("07-3", lambda x: x + 3)]
WRONG = [  # two wrong answers for each exercise
    ("07-1", lambda x: x, "PLACEHOLDER 07: .* unchanged"),
    ("07-1", lambda x: x + 2, "the answer is"),
    ("07-2", lambda x: x, "PLACEHOLDER 07"),
    ("07-2", lambda x: x + 1, "you returned"),
    ("07-3", lambda x: 0, "PLACEHOLDER 07"),
    ("07-3", lambda x: x + 2, "you returned"),
]


def stub(x): ...


@pytest.mark.parametrize("id, answer", RIGHT)
def test_the_solution_passes_every_time(id, answer):
    assert [grade(id, answer).state for _ in range(5)] == ["right"] * 5


@pytest.mark.parametrize("id", [id for id, _ in RIGHT])
def test_the_stub_is_not_attempted(id):
    assert grade(id, stub).state == "not attempted"


@pytest.mark.parametrize("id, answer, misconception", WRONG)
def test_a_wrong_answer_is_told_its_misconception(id, answer, misconception):
    verdict = grade(id, answer)
    assert verdict.state == "wrong" and re.search(misconception, verdict.message)
