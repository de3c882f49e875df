"""Tests of the tests: what breaks no rule passes all of them, and each planted mistake is noticed by its rule."""

from __future__ import annotations

import copy
import re

import nbformat
import pytest

from tests.course import chapter_rules as c
from tests.course import examples, ledger_rules, link_rules, name_rules
from tests.course import output_rules as o
from tests.course import style_rules as s
from tests.course.notebooks import Notebook


@pytest.fixture(autouse=True)
def _exercises_and_quiz(monkeypatch):
    """Chapter 03 has three exercises and three quiz questions here, whatever it has in the course."""
    monkeypatch.setattr(c.exercises, "exercises_of", lambda chapter: dict.fromkeys(f"{chapter}-{k}" for k in (1, 2, 3)))
    monkeypatch.setattr(c.quiz, "load", lambda chapter: [{}] * 3)


@pytest.mark.parametrize("rule", [*c.CHAPTER_RULES, *s.STYLE_RULES, *o.OUTPUT_RULES], ids=lambda rule: rule.__name__)
def test_a_good_chapter_breaks_no_rule(rule):
    assert rule(examples.chapter()) == []


@pytest.mark.parametrize("rule", [*c.SOLUTION_RULES, *o.OUTPUT_RULES], ids=lambda rule: rule.__name__)
def test_good_solutions_break_no_rule(rule):
    assert rule(examples.solutions()) == []


def damaged(nb: Notebook, change) -> Notebook:
    """A copy after `change(cells)`; counts and ids are made anew unless `change` is about them."""
    content = copy.deepcopy(nb.content)
    change(content.cells)
    return Notebook(nb.name, nb.folder, content)


def text(old: str, new: str):
    """Replace text in the sources of all cells."""

    def change(cells):
        assert any(re.search(old, cell.source) for cell in cells), old
        for cell in cells:
            cell.source = re.sub(old, new, cell.source)

    return change


def said(old: str, new: str):
    """Replace text in what the cells printed."""

    def change(cells):
        found = 0
        for cell in cells:
            for output in cell.get("outputs", []):
                for holder, key in [(output, "text"), *((output.get("data", {}), k) for k in output.get("data", {}))]:
                    if isinstance(holder.get(key), str) and old in holder[key]:
                        holder[key], found = holder[key].replace(old, new), found + 1
        assert found, old

    return change


def entry(**values):
    """Change the metadata of the first claim."""

    def change(cells):
        outputs = [output for cell in cells for output in cell.get("outputs", [])]
        next(x for x in outputs if "course" in x.get("metadata", {})).metadata["course"].update(values)

    return change


def last_code(function):
    return lambda cells: function([cell for cell in cells if cell.cell_type == "code"][-1])


def drop(pattern: str):
    """Remove the cells whose source matches."""

    def change(cells):
        before = len(cells)
        cells[:] = [cell for cell in cells if not re.search(pattern, cell.source)]
        assert len(cells) < before

    return change


def add_code(source: str, copies: int = 1):
    return lambda cells: cells.extend(nbformat.v4.new_code_cell(source) for _ in range(copies))


def output(**values):
    return nbformat.v4.new_output(**values)


def look(**values):
    """Change what the first chart says of itself."""

    def change(cells):
        looks = [
            x.metadata["image/png"]
            for cell in cells
            for x in cell.get("outputs", [])
            if "image/png" in x.get("metadata", {})
        ]
        looks[0].update(values)

    return change


PACKED = [
    "if (n := 3) > 2:\n    print(n)",
    "def double(x): return 2 * x",
    "class Empty: pass",
    "a, b = f(1), g(2)",
    "f(1), g(2)",
    "x = 1; y = 2",
    "if x: y = 1; z = 2",
    "[[x for x in row] for row in rows]",
    "total = sum(x for row in [r for r in rows] for x in row)",
    "{k: {v for v in vs} for k, vs in d.items()}",
]
LOOSE = [
    "def my_first(x): ...",
    "a, b = f(1), 2",
    "a, b = f(1)",
    "x = [f(y) for y in ys]\nz = [g(y) for y in ys]",
    "for x in xs:\n    print(x)\nelse:\n    pass",
    "show([{'a': f(1), 'b': g(2)}])",
    "lambda x: 2 * x",
]

MISTAKES = [
    (c.opening, text("# 03 · Quantization", "Quantization")),
    (c.opening, text("## Quiz", "# Quiz")),
    (c.opening, text(r"> My int8 [^?]*\?", "Welcome. " * 30)),
    (c.opening, text(r"> My int8 [^?]*\?", "Why?")),
    (c.minutes, text(r"\d+ minutes", "5 minutes")),
    (c.minutes, text(r"\d+ minutes", "an hour")),
    (c.core_path, text("The core is Q3", "Enjoy")),
    *((c.parts, text(f"## {part}", "## Something")) for part in c.ORDER),
    (c.parts, lambda cells: cells.insert(2, cells.pop())),
    (c.objectives, text("- round a weight\n", "")),
    (c.filled, text("Python, NumPy, and chapter 00. About .*", "Nothing")),
    (c.filled, text("(A scale maps an integer to a real number. )+", "See above.")),
    (c.filled, text(r"\* \[two\].*", "")),
    (c.question_headings, text("## Q3 · Explain", "## Q3 · explain")),
    (c.question_headings, text("## Q3 ·", "### Q3 ·")),
    (c.question_headings, text("## Q3 ·", "## Q5 ·")),
    (c.question_headings, drop("^## Q7")),
    (c.question_headings, lambda cells: cells.append(copy.deepcopy(cells[4]))),
    (c.exercises_there, drop(r'check\("03-2"')),
    (c.exercises_there, text('check\\("03-2"', 'check("03-9"')),
    (c.stubs, said("○ 03-2", "✔ 03-2")),
    (c.stubs, last_code(lambda cell: cell.update(source='check("03-1", solve)'))),
    (c.quiz_there, drop(r"quiz\.show")),
    (c.quiz_there, text(r'quiz\.show\("03"\)', 'quiz.show("04")')),
    (s.size, add_code("x = 1\n" * 16)),
    (s.size, add_code("x = " + "1 + " * 22 + "1")),
    (s.size, add_code("x = 1", 60)),
    (s.size, lambda cells: cells.__delitem__(slice(14, None))),
    (s.claims_apart, add_code("claim('C03-a', 'x', measured=1, below=2)\n" * 3)),
    (s.one_heading, text("- bound an error", "- bound an error\n\n## Another")),
    (s.one_heading, text("A table.", "A table.\n\n### Within")),
    *((s.one_thought_a_line, add_code(source)) for source in PACKED),
    (s.words, text("A table.", "Each door of the Toolkit.")),
    (s.words, text("A table.", "Its reach is wide.")),
    (s.words, text("A table.", "Round to the nearest mark.")),
    (s.words, text("A table.", "The gap between both is small.")),
    (s.words, text("A table.", "This is a share of one.")),
    (s.words, entry(sentence="The channel's reach is wide")),
    (s.said_aloud, text("A table.", "It lost a share of 0.0066 of them.")),
    (s.said_aloud, text("A table.", "They agree on 1.00 of the pictures.")),
    (s.said_aloud, text("A table.", "It lost 0 of accuracy.")),
    (s.said_aloud, entry(figure="0.415 of the time")),
    (s.claims_as_said, entry(sentence="eight bits need less than a quarter of the bytes")),
    (s.claims_as_said, entry(bound={"below": 0.35})),
    (s.figures_worked, text("about 25 %", "about 26 %")),
    (s.figures_worked, text("A table.", "A table with −63.25 in it.")),
    (s.formulas_worked, text("A table.", "It is $x = q + z$.")),
    (s.drawing_there, drop("drawings.canvas")),
    (s.pictures_speak, look(title="Accuracy")),
    (s.pictures_speak, look(says=[])),
    (s.pictures_speak, look(alt="Error falls with every bit and accuracy rises")),
    (s.axes_said, text('xlabel="bits of the grid", ylabel="error"', 'xlabel="error", ylabel="bits of the grid"')),
    (s.axes_said, look(alt="It falls with every bit of the grid")),
    (s.standalone_there, drop("import json")),
    (c.questions_have_claims, drop(r'claim\("Q4-')),
    (c.questions_have_claims, text("Q4-bytes", "Q5-bytes")),
    (c.imports_first, text("import utils\n", "import tensorflow as tf\nimport utils\n")),
    (o.executed_in_order, lambda cells: cells.__setitem__(slice(5, 8), cells[7:4:-1])),
    (o.executed_in_order, last_code(lambda cell: cell.update(execution_count=None))),
    (o.executed_in_order, drop(r"show\(rows")),
    (
        o.no_errors,
        last_code(lambda cell: cell.outputs.append(output(output_type="error", ename="E", evalue="", traceback=[]))),
    ),
    (o.no_errors, last_code(lambda cell: cell.outputs.append(output(output_type="stream", name="stderr", text="W")))),
    (o.opt_outs, last_code(lambda cell: cell.metadata.update(tags=["nbval-ignore-output"]))),
    (o.opt_outs, last_code(lambda cell: cell.update(source="# NBVAL_IGNORE_OUTPUT\nx = 1"))),
    (
        o.opt_outs,
        lambda cells: [
            cell.metadata.update(tags=["nbval-skip"], course={"reason": "it takes an hour"}) for cell in cells[-8:]
        ],
    ),
    (o.alternative_texts, said("Figure: ", "")),
    (
        o.alternative_texts,
        lambda cells: [x.update(metadata={}) for cell in cells for x in cell.get("outputs", []) if "data" in x],
    ),
    (o.alternative_texts, text("A table.", "A table: ![](a.png)")),
    (o.alternative_texts, text("A table.", 'A table: <img src="a.png">')),
    (o.brackets_agree, said("⟦0.251⟧", "⟦0.252⟧")),
    (o.brackets_agree, said("⟦0.251⟧", "0.251")),
    (o.brackets_agree, said("✔ Q3-bytes", "✔ Q4-bytes")),
    (o.brackets_agree, said("less than", "more than")),
    (o.brackets_agree, said("⟦0.909⟧", "⟦0.919⟧")),
    (o.brackets_agree, said("○ 03-1", "⟦○⟧ 03-1")),
    (o.brackets_agree, entry(measured=0.31, figure="0.31")),
    (o.brackets_agree, entry(measured=0.2, figure="0.251")),
    (o.brackets_agree, entry(bound={"below": 0.2})),
    (o.brackets_agree, entry(bound={"above": 0.3})),
    (o.brackets_agree, entry(bound={})),
    (o.brackets_agree, entry(bound={"equals": True})),
    (o.brackets_agree, entry(bound={"surprise": 1})),
    (o.claims_as_written, text(r"below=0\.3", "below=0.5")),
    (o.claims_as_written, text(r"below=0\.3", "above=0.3")),
    (o.claims_as_written, text(examples.SENTENCE, "eight bits need 30 % of the bits")),
    (o.claims_as_written, entry(bound={"below": 0.9})),
    (o.claims_as_written, lambda cells: [cell.update(outputs=[]) for cell in cells if "Q3-" in cell.source]),
    (o.normalized, text("A table.", "A table in /home/me/course.")),
    (o.normalized, last_code(lambda cell: cell.metadata.update(execution={"iopub": "2026"}))),
    (o.normalized, last_code(lambda cell: cell.update(id="0a0a0a0a"))),
    (o.normalized, said("○ 03-1  so", "○ 03-1  /tmp/x.tflite")),
]


@pytest.mark.parametrize("rule, change", MISTAKES, ids=[f"{rule.__name__}-{i}" for i, (rule, _) in enumerate(MISTAKES)])
def test_a_planted_mistake_is_noticed(rule, change):
    complaints = rule(damaged(examples.chapter(), change))
    assert complaints and all(len(complaint) > 15 for complaint in complaints)


@pytest.mark.parametrize("source", LOOSE)
def test_what_is_one_thought_a_line(source):
    assert s.one_thought_a_line(damaged(examples.chapter(), add_code(source))) == []


@pytest.mark.parametrize("plain", ["question marks", "*marks* on a ruler", "weights that share a kernel", "`a.reach`"])
def test_words_that_only_look_like_ours(plain):
    assert s.words(damaged(examples.chapter(), text("A table.", f"Here are {plain}."))) == []


def test_chapter_00_has_nothing_to_paste():
    nb = damaged(examples.chapter(), drop("import json"))
    assert s.standalone_there(Notebook("00_map.ipynb", "notebooks", nb.content)) == []


def test_a_second_notebook_names_the_questions_that_it_deepens():
    there = damaged(examples.chapter(), text("The core is Q3.", "It says more about Q5, Q32 and Q40."))
    second = Notebook("04b_more.ipynb", "notebooks", there.content)
    assert second.is_chapter and c.deepens(second) == []
    assert "Q40" in c.deepens(damaged(second, text("Q40", "Q4")))[0]
    assert c.question_headings(second), "it has no question of its own"


def test_a_claim_within_try_is_there_to_fail():
    failing = "try:\n    claim('C03-false', 'this is never so', measured=1, below=0)\nexcept AssertionError:\n    pass"
    nb = damaged(examples.chapter(), add_code(failing))
    nb.code[-1].execution_count = len(nb.code)
    assert o.claims_as_written(nb) == []
    assert o.claims_as_written(damaged(nb, text("(?s)try:\n    (claim.*?)\nexcept.*", r"\1")))


@pytest.mark.parametrize(("sentence", "complaints"), [(examples.SENTENCE, 0), ("eight bits need 30 % of the bits", 1)])
def test_a_sentence_behind_a_name_is_compared_too(sentence, complaints):
    """The last one that the cell sets above the claim."""
    named = f'said = "Another"\nsaid = "{sentence}"\nclaim("Q3-bytes", said, measured=size, below=0.3)'
    nb = damaged(examples.chapter(), text(r'(?s)claim\("Q3-bytes".*', lambda _: named))
    assert len(o.claims_as_written(nb)) == complaints


def test_every_rule_has_a_planted_mistake():
    tried = {rule for rule, _ in MISTAKES} | {c.solved, c.deepens}
    assert {*c.CHAPTER_RULES, *s.STYLE_RULES, *o.OUTPUT_RULES, *c.SOLUTION_RULES} <= tried


@pytest.mark.parametrize("change", [drop(r'check\("03-2"'), said("✔ 03-2", "✘ 03-2"), said("✔ 03-2", "○ 03-2")])
def test_solutions_that_do_not_solve(change):
    assert c.solved(damaged(examples.solutions(), change)) == ["exercise 03-2 has no answer that its check calls right"]


def test_one_opt_out_in_twenty_cells_is_allowed_with_a_reason():
    nb = damaged(
        examples.chapter(),
        last_code(
            lambda cell: cell.metadata.update(
                tags=["nbval-ignore-output"], course={"reason": "prints the reader's own clock"}
            )
        ),
    )
    assert o.opt_outs(nb) == []


# ---------------------------------------------------------------- the ledger


def book(nb: Notebook) -> list[dict]:
    return ledger_rules.claims(nb.content, nb.shown)


def test_a_ledger_made_from_the_notebooks_agrees():
    nb = examples.chapter()
    assert ledger_rules.ledger_agrees([nb], book(nb)) == [] and len(book(nb)) == 3
    assert ledger_rules.ids_are_unique([nb, examples.solutions()]) == []


@pytest.mark.parametrize(
    "change",
    [
        lambda ledger: ledger.pop(),
        lambda ledger: ledger.append({**ledger[0], "id": "Q3-other"}),
        lambda ledger: ledger[0].update(figure="0.25"),
        lambda ledger: ledger[0].update(cell=9),
        lambda ledger: ledger.append(ledger[0]),
        lambda ledger: ledger[1].update(bound={"below": 1}),
    ],
)
def test_a_ledger_that_says_something_else_is_noticed(change):
    nb = examples.chapter()
    ledger = book(nb)
    change(ledger)
    assert ledger_rules.ledger_agrees([nb], ledger)


def test_an_id_in_two_notebooks_is_noticed():
    nb = examples.chapter()
    other = Notebook("04_other.ipynb", "notebooks", nb.content)
    complaints = ledger_rules.ids_are_unique([nb, other])
    assert len(complaints) == 3 and "03_example.ipynb" in complaints[0] and "04_other.ipynb" in complaints[0]


def test_chapters_and_solutions_are_twins():
    assert ledger_rules.solutions_exist(["03_a.ipynb"], ["03_a.ipynb"]) == []
    assert ledger_rules.solutions_exist(["03_a.ipynb"], []) == ["write solutions/03_a.ipynb"]
    assert ledger_rules.solutions_exist([], ["03_a.ipynb"]) == ["solutions/03_a.ipynb belongs to no chapter"]


# ---------------------------------------------------------------- links


@pytest.fixture
def pages(tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("# The course\n\n## What's in it?\n\n```\n# no heading\n```\n")
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Why\n\n## Q3 · Why *so*?")])
    nbformat.write(nb, tmp_path / "docs" / "03_a.ipynb")
    return tmp_path


@pytest.mark.parametrize(
    "link",
    [
        "[a](../README.md)",
        "[a](../README.md#whats-in-it)",
        "[a](03_a.ipynb#Why)",
        "[a](03_a.ipynb#Q3-·-Why-*so*?)",
        "[a](https://example.org/x_(y)",
        "`[a](gone.md)`",
        "```\n[a](gone.md)\n```",
        "<https://example.org/x>",
        "see https://example.org/x.",
        "[a](http://localhost:8888/lab)",
        "[a](mailto:a@example.org)",
        "![b](03_a.ipynb)",
        "[a](#here)",
        '[a](../README.md "title")',
    ],
)
def test_good_links(pages, link):
    file = pages / "docs" / "page.md"
    file.write_text("# Here\n")
    assert link_rules.broken_links(link, file, pages) == []


@pytest.mark.parametrize(
    "link",
    [
        "[a](gone.md)",
        "[a](../README.md#gone)",
        "[a](../README.md#no-heading)",
        "[a](03_a.ipynb#Q4)",
        "[a](../../x.md)",
        "[a](http://example.org)",
        "[a](https://exa_mple)",
        "[a](https:///x)",
        "see http://example.org/x",
        "[a](ftp://a.org)",
        "[a](#gone)",
        "![b](gone.png)",
        "[![b](gone.png)](https://example.org)",
        "[a](file:///etc/hosts)",
    ],
)
def test_broken_links_are_noticed(pages, link):
    file = pages / "docs" / "page.md"
    file.write_text("# Here\n")
    assert link_rules.broken_links(link, file, pages)


# ---------------------------------------------------------------- names


def test_names_in_text_and_code():
    markdown = (
        "`tf.lite.Interpreter` and `tfmot.sparsity.keras.prune_low_magnitude(model)`, not tf.gone, "
        "not `data/tf.lite.py`, `tensorflow.org`\n\n```python\ntf.nn.relu(x)\n```\n```js\ntf.tidy()\n```"
    )
    assert name_rules.in_markdown(markdown) == {
        "tf.lite.Interpreter",
        "tfmot.sparsity.keras.prune_low_magnitude",
        "tf.nn.relu",
    }
    assert name_rules.in_code("!ls\ny = tf.nn.relu(x).shape\nprint('tf.gone', np.tf.x)") == {"tf.nn.relu"}


def test_names_are_looked_up():
    good = {
        "tf.lite.Interpreter.invoke",
        "tf.lite.TFLiteConverter.optimizations",
        "tf_keras.layers.Dense",
        "tfmot.sparsity.keras.prune_low_magnitude",
        "ai_edge_litert.interpreter.Interpreter",
        "tf.contrib",
        "tf.keras.Model",
    }
    bad = {"tf.lite.Optimise", "tfmot.quantization.keras.quantise_model", "tf_keras.layers.Dense.gone"}
    assert name_rules.unknown(good | bad) == sorted(bad)
