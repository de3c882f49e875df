"""Planted mistakes are mistakes: each changes something, still parses, and the bookkeeping counts survivors."""

from __future__ import annotations

import ast
import re

import pytest

from benchmarks import _planting, mutants
from benchmarks.mutants import Tried
from tests.course import examples
from utils import ROOT

SOURCE = '''
def quantize(x, bits):
    """Words."""
    if bits < 2:
        raise ValueError(f"bits is {bits + 1}; pass more")
    scale = (x.max() - x.min()) / (2 ** bits - 1)
    zero_point = round(-x.min() / scale)
    return x / scale + zero_point
'''


def test_structural_mistakes_are_of_every_kind_and_differ():
    nb = examples.chapter()
    plants = list(_planting.structural(nb))
    assert {p.what for p in plants} == {
        "removes a heading",
        "changes a bracketed figure",
        "negates a stored bound",
        "drops an alternative text",
        "swaps two cells",
    }
    assert all(p.changed.content != nb.content for p in plants)
    assert nb.content == examples.chapter().content  # the original is left alone


def test_structural_mistakes_are_noticed(monkeypatch):
    for module in (mutants.chapter_rules,):
        monkeypatch.setattr(module.exercises, "of", lambda chapter: dict.fromkeys(("03-1", "03-2", "03-3")))
        monkeypatch.setattr(module.quiz, "load", lambda chapter: [{}] * 3)
    monkeypatch.setattr(mutants, "every", list)
    monkeypatch.setattr(mutants.ledger, "read", list)
    tried = mutants.try_rules([examples.chapter()])
    assert len(tried) > 15
    assert [t.where for t in tried if not t.noticed] == []


def test_a_digit_outside_of_brackets_is_changed():
    nb = examples.chapter()
    table = next(p for p in _planting.outputs(nb) if "accuracy" in str(p.changed.outputs) or "bytes" in str(p.changed))
    old, new = nb.code[table.cell].outputs[0].data["text/plain"], table.changed.outputs[0].data["text/plain"]
    assert old != new and _planting._OUTSIDE_BRACKETS.sub("", old) == _planting._OUTSIDE_BRACKETS.sub("", new)
    assert re.findall("⟦.*?⟧", old) == re.findall("⟦.*?⟧", new) != []


def test_claims_are_negated_and_answers_made_wrong():
    negated = list(_planting.negated_claims(examples.chapter()))
    assert len(negated) == 3 and all("above=0.3" in p.changed.source for p in negated)
    wrong = list(_planting.wrong_answers(examples.solutions()))
    assert len(wrong) == 3 and all("answer = lambda" in p.changed.source for p in wrong)


def test_modules_are_mutated():
    plants = _planting.module(SOURCE, "x.py", 20)
    assert {p.what for p in plants} == {"negates a comparison", "swaps an operator", "leaves a check out"}
    assert len({p.changed for p in plants}) == len(plants)
    assert all(ast.unparse(ast.parse(SOURCE)) != p.changed for p in plants)
    assert not any("bits - 1}" in p.changed for p in plants)  # words are left alone


def test_the_same_seed_plants_the_same():
    assert _planting.module(SOURCE, "x.py", 3, 1) == _planting.module(SOURCE, "x.py", 3, 1)
    assert len(_planting.module(SOURCE, "x.py", 3, 1)) == 3


def test_scales_and_zero_points_are_shifted():
    plants = _planting.shifted_scales(SOURCE, "x.py")
    assert [p.what for p in plants] == ["shifts a scale", "shifts a zero point"]
    assert "* 1.25" in plants[0].changed and "/ scale) + 1" in plants[1].changed


@pytest.mark.parametrize("share, good", [(19, True), (18, False)])
def test_fewer_than_95_percent_is_not_enough(share, good, capsys):
    tried = [Tried("source", "swaps an operator", f"x.py:{i}", i < share, "") for i in range(20)]
    assert mutants.report(tried, 1.0) is good
    assert "survived: swaps an operator: x.py:19" in capsys.readouterr().out


def test_modules_have_their_tests():
    assert mutants.test_of("utils/optimize/pruning.py") == "tests/optimize/test_pruning.py"
    assert "utils/claims.py" in mutants.modules()


def test_a_copy_has_the_course_and_no_environment():
    with mutants.copies(1) as [copy]:
        assert (copy / "utils" / "claims.py").read_bytes() == (ROOT / "utils" / "claims.py").read_bytes()
        assert (copy / "data").is_symlink() and not list(copy.glob(".venv*")) and not (copy / ".git").exists()
