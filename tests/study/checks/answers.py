"""The tests that each chapter's exercises have, made from the right and the wrong answers to them.

test_solutions, test_stubs, test_misconceptions, test_hints = answers.tests(RIGHT, WRONG)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pytest

from utils.study.exercises import grade, hint


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
