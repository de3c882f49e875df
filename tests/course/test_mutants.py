"""Planted mistakes are mistakes: each changes something, still parses, and the bookkeeping counts survivors."""

from __future__ import annotations

import ast
import re
from contextlib import nullcontext
from dataclasses import replace

import pytest

from benchmarks import _mutations, _planting, _wording, mutants
from benchmarks._foreign_mistakes import Mistake
from benchmarks.mutants import Tried
from tests.course import examples
from utils import ROOT, recorded

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
        monkeypatch.setattr(module.exercises, "exercises_of", lambda chapter: dict.fromkeys(("03-1", "03-2", "03-3")))
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
    plants = _mutations.module(SOURCE, "x.py", 99)
    assert {p.what for p in plants} == {
        *("negates a comparison", "swaps an operator", "leaves a check out", "shifts a scale", "shifts a zero point"),
        *("moves an edge", "moves a limit by half", "does another's work", "ignores a parameter"),
    }
    assert len({(p.what, p.changed) for p in plants}) == len(plants)
    assert all(ast.dump(ast.parse(SOURCE)) != ast.dump(ast.parse(p.changed)) for p in plants)
    assert not any("{(bits)}" in p.changed for p in plants)  # words are left alone


@pytest.mark.parametrize(
    "source, what, changed",
    [
        ("if a < b: c()", "moves an edge", ["if a <= b: c()"]),
        ("x = n - 1", "moves an edge", ["x = (n)"]),
        ("if a > 8: c()", "moves a limit by half", ["if a > 5: c()"]),
        ("if a < 0.5: c()", "moves a limit by half", ["if a < 0.75: c()"]),
        ("isclose(a, b, rtol=1e-4)", "moves a limit by half", ["isclose(a, b, rtol=0.00015)"]),
        ("ENERGY = {'int8': 0.2}  # of a paper", "changes a constant", ["ENERGY = {'int8': 0.25}  # of a paper"]),
        ("def f():\n    x = 3", "changes a constant", []),
        ("N: int = 3", "changes a constant", ["N: int = 4"]),
        ("A = ('a', 'b')", "drops a name from a list", ["A = ('b',)", "A = ('a',)"]),
        ("A = ('a', 'b')\nB = ['c', 'a']", "adds a name to a list", ["A = ('a', 'b', 'c')\nB = ['c', 'a']",
                                                                     "A = ('a', 'b')\nB = ['c', 'a', 'b']"]),
        ("__all__ = ['a', 'b']", "drops a name from a list", []),  # a rule compares it with what is there
        ("def f(x, bits=8, *, signed=True): ...", "changes a default", ["def f(x, bits=9, *, signed=True): ...",
                                                                        "def f(x, bits=8, *, signed=False): ..."]),
        ("class A:\n    bits: int = 8", "changes a default", ["class A:\n    bits: int = 9"]),
        ("def a(x): ...\ndef b(x): ...\ndef c(x, y): ...\na(1)", "does another's work",
         ["def a(x): ...\ndef b(x): ...\ndef c(x, y): ...\nb(1)"]),
        ("y = min(x) + x.argmax()", "does another's work", ["y = max(x) + x.argmax()", "y = min(x) + x.argmin()"]),
        ("R = {'mse': 'MSE', 'octav': 'OCTAV'}", "does another's work", ["R = {'mse': 'OCTAV', 'octav': 'OCTAV'}",
                                                                         "R = {'mse': 'MSE', 'octav': 'MSE'}"]),
        ('def f(x, seed):\n    """Words."""\n    return x + seed', "ignores a parameter",
         ['def f(x, seed):\n    """Words."""\n    seed = 0\n    return x + seed']),
        ("def f(x, k=2):\n    return x", "ignores a parameter", []),  # it is not used
        ("y = x[0] + x[-1]", "takes another element", ["y = x[-1] + x[-1]", "y = x[0] + x[0]"]),
        ("if __name__ == '__main__':\n    f(1 < 2)", "moves an edge", []),
        ("x: 'a < b' = f'{1 < 2}'", "moves an edge", []),
    ],
)  # fmt: skip
def test_each_operator(source, what, changed):
    found = [change for change in _mutations.changes(source) if change.what == what]
    assert [_mutations.replaced(source, change.node, change.text) for change in found] == changed


def test_a_layer_that_does_not_belong_is_added_to_a_list_of_layers():
    plants = _mutations.module("L = (k.Dense, k.ReLU)  # ä", "x.py", 99)
    added = [p.changed for p in plants if p.what == "adds a name to a list"]
    assert "L = (k.Dense, k.ReLU, k.LayerNormalization)  # ä" in added and len(added) > 5


def test_every_kind_has_its_turn():
    source = (ROOT / "utils/optimize/quantization/equalization.py").read_text("utf-8")
    plants = _mutations.module(source, "x.py", 9)
    assert len(plants) == 9 and len({p.what for p in plants}) >= 8


def test_the_same_seed_plants_the_same():
    assert _mutations.module(SOURCE, "x.py", 3, 1) == _mutations.module(SOURCE, "x.py", 3, 1)
    assert _mutations.module(SOURCE, "x.py", 3, 1) != _mutations.module(SOURCE, "x.py", 3, 2)
    assert len(_mutations.module(SOURCE, "x.py", 3, 1)) == 3


# ---------------------------------------------------------------- what is said


def test_mistakes_in_a_chapters_words_are_noticed(monkeypatch):
    nb = examples.chapter()
    formula = r"It is $r = 8 / b - a$."
    source = nb.content.cells[-6]
    next(cell for cell in nb.content.cells if cell.source == "A table.").source = formula
    next(cell for cell in nb.code if cell.source.startswith("import json")).source += "\nr = 8 / b - a"
    found = [s for kind in (_wording.figures, _wording.formulas, _wording.sentences, _wording.limits) for s in kind(nb)]
    assert {s.what for s in found} == {
        *("changes a figure in a text", "changes a sign in a formula"),
        *("changes a number in a claim's sentence", "widens a claim's bound"),
    }
    assert all(s.is_fair() and s.noticed() for s in found), [s.where for s in found if not s.noticed()]
    assert source in nb.content.cells


def test_a_place_that_breaks_its_rule_already_is_no_fair_place():
    nb = examples.chapter()
    next(cell for cell in nb.content.cells if cell.source == "A table.").source = "It is −64.25 and about 25 %."
    found = list(_wording.figures(nb))
    assert [s.is_fair() for s in found] == [False, True, True]  # the last is the chapter's own


def test_labels_and_trends_are_turned_round():
    nb = examples.chapter()
    (labels,) = _wording.swapped_labels(nb)
    assert 'xlabel="error", ylabel="bits of the grid"' in labels.changed.source
    cell = next(cell for cell in nb.code if "xlabel" in cell.source)
    cell.source += "\nsays = 'it falls'"
    (trend,) = _wording.turned_trends(nb)
    assert "says = 'it rises'" in trend.changed.source and "falls" in cell.source


QUIZ = [
    {"question": "dB?", "type": "multiple_choice", "computed": "38 - 3 * 6", "answers": [
        {"answer": "about 35", "correct": False, "feedback": "No: 6 dB a bit."},
        {"answer": "about 20", "correct": True, "feedback": "Yes."}]},
    {"question": "Which?", "type": "many_choice", "answers": [
        {"answer": "this", "correct": True, "feedback": "Yes."},
        {"answer": "that", "correct": False, "feedback": "No."}]},
]  # fmt: skip


def test_mistakes_in_a_quiz_are_noticed(monkeypatch):
    monkeypatch.setattr(_wording.quiz, "load", lambda chapter: QUIZ)
    found = list(_wording.options("03"))
    assert [s.what for s in found] == [
        *("marks another option of a quiz", "changes a number in a quiz", "marks another option of a quiz")
    ]
    assert all(s.is_fair() and s.noticed() for s in found)


def test_mistakes_in_a_last_hint_are_noticed(monkeypatch):
    nb = examples.solutions()
    nb.code[1].source = "def answer(x, bits):\n    return (x - 1) / (2**bits - 1)"
    exercise = type("E", (), {"hints": ("", "", "`(x - 1) / (2**bits - 1)`, nothing else.")})
    monkeypatch.setattr(_wording.exercises, "exercises_of", lambda chapter: {"03-1": exercise})
    found = list(_wording.hints(nb))
    assert len(found) == 6 and all(s.is_fair() and s.noticed() for s in found)


def test_mistakes_on_pages_are_noticed(monkeypatch, tmp_path):
    said = ("LeNet-5 in int8 needs less than 27 % of the bytes", "a large matrix takes a third of the seconds")
    claims = [
        {"id": "Q4-bytes", "sentence": said[0], "bound": {"below": 0.27}, "figure": "26 %"},
        {"id": "Q4-time", "sentence": said[1], "bound": {"below": 0.33}, "figure": "0.3"},
    ]
    monkeypatch.setattr(_wording, "ledger", lambda: claims)
    monkeypatch.setattr(_wording, "_sentences", lambda: {c["id"]: c["sentence"] for c in claims})
    page = tmp_path / "q04.md"
    page.write_text(
        "---\nid: Q4\n---\nLeNet-5 in int8 needs <!--Q4-bytes-->26 %<!--/--> of the bytes, less than 27 %.\n\n"
        "A large matrix takes <!--Q4-time-->0.3<!--/--> of the seconds.",
        "utf-8",
    )
    found = [*_wording.swapped_quotes(page), *_wording.typed(page)]
    assert [s.what for s in found] == ["swaps two quotes", "changes a figure in an answer"]
    assert all(s.is_fair() and s.noticed() for s in found)


def test_a_record_edited_by_hand_is_noticed():
    found = list(_wording.edited("weights"))
    assert len(found) > 10 and all(s.is_fair() and s.noticed() for s in found[:3])


@pytest.mark.parametrize(
    "text, other",
    [("−64.25", "−74.25"), ("99 %", "19 %"), ("0.05", "0.06"), ("six decibels", "three decibels"), ("Four", "five"),
     ("a quarter of", "a third of"), ("one", ""), ("0.0", "")],
)  # fmt: skip
def test_another_figure(text, other):
    assert _wording.another(text) == other


def test_figures_of_pages_are_changed_and_generated_lists_left_alone():
    text = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
    rules = text[text.index("<!--rules-->") : text.index("<!--/rules-->")]
    plants = _wording.page_figures("CONTRIBUTING.md", 20)
    assert len(plants) >= 4 and all(rules in p.changed and p.changed != text for p in plants)
    assert any("| its solutions | 35 |" in p.changed for p in plants)


# ---------------------------------------------------------------- somebody else's mistakes, reports, records


def test_the_list_of_somebody_else_can_be_planted():
    jobs = mutants.foreign_jobs()
    assert len(jobs) == len(mutants.MISTAKES) > 0
    assert all((ROOT / test.partition("::")[0]).exists() for job in jobs for test in job.tests)


@pytest.mark.parametrize(
    "mistake, words",
    [
        (Mistake("utils/gone.py", "a", "b", ()), "is not there"),
        (Mistake("utils/measure/cost.py", "no such text", "b", ()), "stands 0 times"),
        (Mistake("utils/measure/cost.py", "float", "b", ()), r"stands \d+ times"),
        (Mistake("utils/measure/cost.py", '"float16": 1.1 + 0.4', '"float16": 1.1 + 0.4', ()), "stands 1 times"),
    ],
)
def test_a_mistake_that_cannot_be_planted_is_named(mistake, words):
    with pytest.raises(mutants.Problem, match=words):
        mutants.foreign_jobs((mistake,))


class StandIn:
    """A server whose tests fail if "bad" was planted, or as they are."""

    def __init__(self, copy, red=""):
        self.copy, self.red, self.green, self.asked = copy, red, set(), []

    def code(self, *tests):
        self.asked.append(tests)
        bad = "bad" in (self.copy / "a.py").read_text()
        (self.copy / "pytest.log").write_text(f"FAILED {tests[0]}::test_a[b c] - assert\n" if bad else "")
        return int(bad or tests[0].startswith(self.red or "nothing"))

    try_one, failed = mutants.Server.try_one, mutants.Server.failed


def test_mistakes_are_tried_one_by_one_and_red_tests_left_out(tmp_path, capsys):
    (tmp_path / "a.py").write_text("good")
    planted = [("bad", "t"), ("other", "t"), ("bad", "t"), ("bad", "red")]
    jobs = [
        mutants.Job("source", "a.py", _planting.Plant("k", f"{i}", text), (tests,))
        for i, (text, tests) in enumerate(planted)
    ]
    server = StandIn(tmp_path, red="red")
    tried = mutants.try_jobs(jobs, [server], "files")
    assert [(t.where, t.noticed, t.by) for t in tried] == [
        ("0", True, "t::test_a"), ("1", False, ""), ("2", True, "t::test_a"),
    ]  # fmt: skip
    assert server.asked.count(("t::test_a",)) == 1  # seen to pass once, that is enough
    assert (tmp_path / "a.py").read_text() == "good" and "fail as they are: red" in capsys.readouterr().err


@pytest.mark.parametrize("share, good", [(18, True), (17, False)])
def test_fewer_than_90_percent_is_not_enough(share, good, capsys):
    tried = [Tried("source", "swaps an operator", f"x.py:{i}", i < share, "") for i in range(20)]
    assert mutants.report(tried, 1.0) is good
    assert "survived: swaps an operator: x.py:19" in capsys.readouterr().out


ROWS = [
    {
        "mistake": "moves an edge",
        "planted": 3,
        "noticed": 1,
        "survivors": ["utils/x.py:12: a < b → a <= b", "utils/y.py:3: c"],
    },
    {"mistake": "breaks a link", "planted": 3, "noticed": 3, "survivors": []},
]


def test_reasons_are_kept_where_lines_moved():
    page = mutants.survivors_page(ROWS, mutants.reasons("- `utils/x.py:10: a < b → a <= b` — both are 0 there\n"))
    assert "## Moves an edge: 1 of 3 noticed\n" in page and "Breaks" not in page
    assert "- `utils/x.py:12: a < b → a <= b` — both are 0 there\n- `utils/y.py:3: c` —\n" in page
    assert mutants.survivors_page(ROWS, mutants.reasons(page)) == page


def test_each_survivor_of_the_record_has_its_reason():
    if "mutants" not in recorded.names():
        pytest.skip("there is no record of planted mistakes: run `python course.py bench mutants`")
    why = mutants.reasons()
    places = [place.replace("`", "'") for row in recorded.load("mutants").rows for place in row["survivors"]]
    assert [place for place in places if len(why.get(mutants._without_line(place), "").split()) < 3] == []


def test_a_part_is_not_recorded(monkeypatch, capsys):
    tried = [Tried("text", "k", "w", True, "rule")]
    monkeypatch.setattr(mutants, "try_texts", lambda *_: tried)
    monkeypatch.setattr(mutants, "page_jobs", lambda *_: [])
    monkeypatch.setattr(mutants, "copies", lambda count: nullcontext((None, None)))
    monkeypatch.setattr(recorded, "_write", lambda stored: pytest.fail("it was stored"))
    assert mutants.main(["--only", "texts"]) == 0
    assert "stays as it was: only a part was tried (--only texts)" in capsys.readouterr().out


def test_the_whole_is_recorded_with_its_survivors(monkeypatch, tmp_path):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    monkeypatch.setattr(mutants, "REASONS", tmp_path / "mutants.md")
    mutants.record([Tried("text", "k", "here: a", False, ""), Tried("text", "k", "b", True, "rule")], 90.0)
    stored = recorded.load("mutants", tmp_path)
    assert stored.rows == [{"mistake": "k", "planted": 2, "noticed": 1, "survivors": ["here: a"]}]
    assert (
        stored.command == "python course.py bench mutants"
        and "- `here: a` —\n" in (tmp_path / "mutants.md").read_text()
    )


def test_survivors_are_planted_again_and_those_of_texts_stay(monkeypatch, tmp_path):
    places = [
        "utils/a.py:1: now noticed",
        "utils/a.py:2: survives",
        "utils/a.py:3: its code is gone",
        "q03.md: 6 dB → 7 dB",
    ]
    row = {"mistake": "k", "planted": 9, "noticed": 5, "survivors": places}
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    monkeypatch.setattr(mutants, "REASONS", tmp_path / "mutants.md")
    mutants._store([row], "it took 3 minutes")
    job = mutants.Job("source", "utils/a.py", _planting.Plant("k", places[0], ""), ("t",))
    jobs = [
        replace(job, plant=_planting.Plant("k", where, "")) for where in [*places[:2], "utils/a.py:4: not asked for"]
    ]
    monkeypatch.setattr(mutants, "modules", lambda: ["utils/a.py"])
    monkeypatch.setattr(mutants, "foreign_jobs", lambda: [])
    monkeypatch.setattr(mutants, "module_jobs", lambda files, each: jobs if files == ["utils/a.py"] else [])
    monkeypatch.setattr(mutants, "copies", lambda count: nullcontext(()))
    found = [Tried("source", "k", places[0], True, "t"), Tried("source", "k", places[1], False, "")]
    monkeypatch.setattr(mutants, "try_jobs", lambda jobs, servers, what: found if len(jobs) == 2 else [])
    assert mutants.main(["--again"]) == 0
    stored = recorded.load("mutants", tmp_path)
    assert stored.rows == [{"mistake": "k", "planted": 8, "noticed": 6, "survivors": [places[1], places[3]]}]
    assert stored.notes.startswith("it took 3 minutes; 20") and "of 4 survivors 1 noticed" in stored.notes


@pytest.mark.parametrize(
    "argv, words",
    [
        (["--modules", "utils/gone.py"], "no tests mirror utils/gone.py"),
        (["--each", "0"], "--each is 1 or more; got 0"),
        (["--again", "--only", "rules"], "--again goes alone"),
    ],
)
def test_arguments_that_mean_nothing_are_refused(argv, words, capsys):
    with pytest.raises(SystemExit):
        mutants.main(argv)
    assert words in capsys.readouterr().err


def test_an_unknown_chapter_and_a_read_only_clone_are_refused_before_the_work(monkeypatch, capsys):
    monkeypatch.setattr(mutants, "try_rules", lambda *_: pytest.fail("it began"))
    assert mutants.main(["--chapters", "99"]) == 1 and "✘" in capsys.readouterr().err

    def read_only(folder):
        raise OSError(30, "this file system is read-only", str(folder))

    monkeypatch.setattr(recorded.files, "check_writable", read_only)
    with pytest.raises(OSError, match="read-only"):
        mutants.main([])


def test_modules_have_their_tests():
    assert mutants.test_of("utils/optimize/pruning.py") == "tests/optimize/test_pruning.py"
    assert "utils/claims.py" in mutants.modules()


def test_a_copy_has_the_course_and_no_environment():
    with mutants.copies(1) as [copy]:
        assert (copy / "utils" / "claims.py").read_bytes() == (ROOT / "utils" / "claims.py").read_bytes()
        assert not list(copy.glob(".venv*")) and not (copy / ".git").exists()
        small, large = copy / "data/results/claims.json", next((ROOT / "data").glob("**/*.npz"))
        assert not small.is_symlink() and small.read_bytes() == (ROOT / "data/results/claims.json").read_bytes()
        assert (copy / large.relative_to(ROOT)).resolve() == large  # a link, as large as it may be
