"""Tests of the rules for code, answers and tracked files: each planted mistake is noticed."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.course import answer_rules, code_rules, examples
from utils import ROOT


@pytest.mark.parametrize(
    "module, source, allowed",
    [
        ("utils.measure.scorecard", "from utils import data", True),
        ("utils.measure.scorecard", "import utils.optimize.pruning", False),
        ("utils.measure.scorecard", "def f():\n    from utils.optimize import pruning", False),
        ("utils.measure.scorecard", "from utils.study.quiz import load", False),
        ("utils.data", "from .optimize import pruning", False),
        ("utils.optimize.pruning", "from utils import data, training", True),
        ("utils.optimize.pruning", "from utils.optimize import coding", True),
        ("utils.optimize.pruning", "from . import coding", True),
        ("utils.optimize.pruning", "from utils.deploy import tflite", False),
        ("utils.optimize.pruning", "from ..deploy import tflite", False),
        ("utils.study.mock", "from utils.assist import report", True),
        ("utils.assist.report", "import utils.study.cards", False),
        ("utils.deploy.tflite.tflite_model", "from utils import ROOT\nimport utilsomething.study", True),
    ],
)
def test_one_way_imports(module, source, allowed):
    assert (code_rules.one_way_imports(source, module) == []) == allowed


@pytest.mark.parametrize(
    "module, source, allowed",
    [
        ("utils.data", "import numpy", True),
        ("utils.data", "import tensorflow as tf", False),
        ("utils.data", "from tf_keras import layers", False),
        ("utils.data", "def f():\n    import tensorflow", True),
        ("utils.data", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import tf_keras", True),
        ("utils.optimize.pruning", "import tensorflow", True),
        ("utils.study.quiz", "import tensorflow", False),
    ],
)
def test_light_at_import(module, source, allowed):
    assert (code_rules.light_at_import(source, module) == []) == allowed


@pytest.mark.parametrize(
    "source, good",
    [
        ("def test_a():\n    assert f() == 1", True),
        ("def test_a():\n    with pytest.raises(ValueError):\n        f()", True),
        ("def test_a():\n    np.testing.assert_array_equal(a, b)", True),
        ("def helper(x):\n    assert x\ndef test_a():\n    helper(1)", True),
        ("def inner(x):\n    assert x\ndef outer(x):\n    inner(x)\ndef test_a():\n    outer(1)", True),
        ("def test_a():\n    f()", False),
        ("def test_a():\n    assert True", False),
        ("def helper(x):\n    print(x)\ndef test_a():\n    helper(1)", False),
        ("class TestA:\n    def test_a(self):\n        f()", False),
        ("def test_a():\n    assert_rows(f())", True),
    ],
)
def test_tests_without_assertion_are_named(source, good):
    assert (code_rules.tests_assert(source, "tests/test_x.py") == []) == good


@pytest.mark.parametrize(
    "text, good",
    [
        ("utils.optimize.pruning.prune_once(model, 0.5)", True),
        ("utils.optimize.coding.compress", True),
        ("utils.optimize.coding", True),
        ("utils.SEED", True),
        ("utils.optimize.pruning.prune_twice", False),
        ("utils.optimise.pruning", False),
        ("beautils.nothing", True),
    ],
)
def test_advice_that_names_what_is_not_there_is_noticed(text, good):
    source = f"def f(x):\n    raise ValueError(f'{{x}} is wrong; call {text} first')"
    assert (code_rules.named_functions_exist(source, ROOT) == []) == good


@pytest.mark.parametrize(
    ("docstring", "good"),
    [
        ("Adds.\n\n    a: one.\n    Returns the sum.\n    Raises TypeError: no number.", True),
        ("Adds.\n\n    Args:\n        a: one.", False),
        ("Adds.\n\n    Raises:\n        TypeError: no number.", False),
    ],
)
def test_blocks_in_docstrings_are_noticed(docstring, good):
    source = f'class A:\n  def add(self, a):\n    """{docstring}"""'
    assert (code_rules.docstrings_alike(source) == []) == good


def test_modules_without_tests_are_named():
    assert code_rules.mirrored(["optimize/pruning.py", "data.py"], ["optimize/test_pruning.py"]) == [
        "utils/data.py has no tests/test_data.py"
    ]


@pytest.mark.parametrize(
    "text, good",
    [
        ("see data/README.md", True),
        ("/home/ana/course", False),
        ("C:\\Users\\ana", False),
        ("/Users/ana/x", False),
        ("/srv/clone/notebooks", False),
        ("https://pypi.org/simple/x", False),
        ("https://files.pythonhosted.org/x", False),
        ("https://registry.npmjs.org/x", False),
        ("https://mirror.example/x", False),
        ("https://pypi.org/project/nbval", True),
        ("https://example.org/home/ana", True),
    ],
)
def test_machine_names(text, good):
    assert (code_rules.no_machine_names(text, Path("/srv/clone"), ("mirror.example",)) == []) == good


LEDGER = {"Q3-bytes": "25.1 %", "Q4-bits": "8", "Q8-levels": "256", "Q9-bytes": "0.734", "Q9-size": "26,032"}


def complaints(text: str, name: str = "q03.md") -> list[str]:
    return (
        answer_rules.fields_right(text, name)
        + answer_rules.sections_right(text)
        + answer_rules.figures_quoted(text, LEDGER)
        + answer_rules.claims_there(text, LEDGER)
        + answer_rules.said_aloud(text)
    )


def test_a_good_answer_breaks_no_rule():
    assert complaints(examples.answer()) == []


SENTENCES = {
    "Q4-bytes": "LeNet-5 in int8 needs a quarter of the bytes of float32's file",
    "Q4-time": "A large matrix of weights is multiplied in a third of the seconds",
}
PAGE = (
    "LeNet-5 in int8 needs <!--{}-->0.261<!--/--> of the bytes of its float32 file.\n\n"
    "A large matrix is multiplied in <!--{}-->0.302<!--/--> of the seconds."
)


@pytest.mark.parametrize("first, second, good", [("bytes", "time", True), ("time", "bytes", False)])
def test_quotes_that_are_swapped_are_noticed(first, second, good):
    page = PAGE.format(f"Q4-{first}", f"Q4-{second}")
    assert (answer_rules.quotes_in_place(page, SENTENCES) == []) is good


@pytest.mark.parametrize(
    "text, good",
    [
        ("deleted in TensorFlow 25.1", True),
        ("it needs 25.1 % of the bytes", False),
        ("a grid of 256 levels", True),  # Q8-levels is another question's, and 256 no discovery
        ("claims: [Q8-levels]", False),
        ("it took 0.734 of the bytes", False),
        ("[elsewhere](https://x.org) it took 0.734 of them", True),  # another question's: their figure, and its source
        ("[elsewhere](https://x.org) it needs 25.1 %", False),  # this question's own
        ("the file has 26,032 bytes", False),
    ],
)
def test_what_is_typed_and_was_measured(text, good):
    if text.startswith("claims"):
        text = f"---\n{text}\n---\na grid of 256 levels"
    else:
        text = f"---\nclaims: [Q3-bytes]\n---\n{text}"
    assert (answer_rules.figures_quoted(text, LEDGER) == []) == good


CLAIMS = [
    {"id": "Q9-decibels", "sentence": "each bit buys about 6 dB", "bound": {"low": 5.8, "high": 6.3}, "figure": "6.02"},
    {"id": "Q3-bytes", "sentence": "int8 needs a quarter of the bytes", "bound": {"below": 0.27}, "figure": "26.1 %"},
    {"id": "Q4-bytes", "sentence": "another question's", "bound": {"below": 0.36}, "figure": "35.9 %"},
    {"id": "Q3-tail", "sentence": "a tail gains less than 3 dB a bit", "bound": {"below": 3}, "figure": "2.01 dB"},
]


@pytest.mark.parametrize(
    "text, good",
    [
        ("Each bit buys six decibels.", True),
        ("Each bit buys three decibels.", False),  # which is only a limit, that of another sentence
        ("A tail gains less than three decibels a bit.", True),
        ("It needs a quarter of the bytes, 26 % of them.", True),
        ("It needs a third of the bytes.", False),
        ("It needs 36 %.", False),
        ("It needs 36 % <!--Q4-bytes-->x<!--/-->.", True),
        ("It needs 36 % ([their table](https://example.org/a)).", True),
        ("It needs <!--Q3-bytes-->36 %<!--/-->.", True),
        ("A grid of 256 levels in 8 bits.", True),
    ],
)
def test_figures_that_no_claim_says(text, good):
    assert (answer_rules.figures_claimed(f"---\nid: Q3\nclaims: [Q9-decibels]\n---\n{text}", CLAIMS) == []) == good


@pytest.mark.parametrize(
    "old, new",
    [
        ("---\nid", "id"),
        ("id: Q3", "id: Q51"),
        ("id: Q3", "id: Q4"),
        ("level: basic", "level: easy"),
        ('"03"', '"04"'),
        ("Explain the", "Explain a"),
        ("claims: [Q3-bytes]", "claims: []"),
        ("claims: [Q3-bytes]", "claims: [Q3-none]"),
        ("claims: [Q3-bytes]", "claims: [Q4-bits]"),
        ("sources:\n- https://example.org/paper", "sources: []"),
        ("## Thirty seconds", "## Short"),
        ("## Red flags", "## Rubrics"),
        ("a small integer and a scale. ", "a "),
        ("saves three bytes in four. ", "saves them. " * 30),
        ("- Why per channel?\n", ""),
        ("- It makes every model faster.\n", ""),
        ("- 2: scale and zero point\n", ""),
        (">25.1 %<", ">25.2 %<"),
        ("<!--Q3-bytes-->25.1 %<!--/-->", "{{Q3-bytes}}"),
        ("<!--Q3-bytes-->25.1 %<!--/-->", "25.1 %"),
        ("<!--Q3-bytes-->25.1 %<!--/-->", "<!--Q3-gone-->25.1 %<!--/-->"),
        ("saves three bytes", "saves a share of 0.7"),
        ("It took", "It took 0.25 of the time and"),
        ("a small integer", "a step of 1.2e-07, an integer"),
        ("saves three bytes", "differs in 0.0034, saves three bytes"),
        ("saves three bytes", "lost 0 of it and saves three bytes"),
    ],
)
def test_a_planted_mistake_in_an_answer_is_noticed(old, new):
    text = examples.answer()
    assert old in text
    assert complaints(text.replace(old, new))


def test_the_file_is_called_after_its_question():
    assert complaints(examples.answer(), "q04.md")


@pytest.mark.parametrize(
    "said", ["0.5 points", "3.14", "a quarter", "99.9 %", "`0.001`", "https://x.org/0.123", "10.123"]
)
def test_what_can_be_said_aloud(said):
    assert answer_rules.said_aloud(examples.answer().replace("It took", f"It was {said} and took")) == []


def test_only_both_answers_are_said_aloud():
    assert answer_rules.said_aloud(examples.answer().replace("- 0: nothing", "- 0: a share of 0.001")) == []


def test_each_question_of_a_chapter_has_its_page():
    assert answer_rules.answers_there("03", ["q03.md", "q04.md", "q07.md", "q50.md"]) == []
    (complaint,) = answer_rules.answers_there("03", ["q03.md", "q07.md", "questions.md"])
    assert complaint == "write interview/q04.md: chapter 03 answers question 4"
    assert answer_rules.answers_there("00", []) == []


def test_a_quoted_figure_is_mended_at_its_claim():
    page = examples.answer().replace("25.1 %<", "0.251 of the time<")
    assert any("Q3-bytes is quoted: measure it so" in complaint for complaint in answer_rules.said_aloud(page))
