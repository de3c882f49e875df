"""What CONTRIBUTING and docs/writing-pages.md say is what the tests ask for and what the calls do."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.course import rulebook, standalone
from tests.course.rulebook import HERE, PAGE
from tests.harness import budget
from utils import ROOT, claims, drawings, source
from utils.study import quotes, recipes

TEXT = PAGE.read_text("utf-8")
WRITING = (ROOT / "docs/writing-pages.md").read_text("utf-8")
REVIEWS = sorted((ROOT / "docs/reviews").glob("*.md"))

# ---------------------------------------------------------------- the rules


def test_the_list_is_that_of_the_rules():
    assert rulebook.listed(TEXT) == rulebook.markdown(), "run `python -m tests.course.rulebook`"


def test_each_rule_says_what_it_asks_for():
    rules = rulebook.rules()
    assert len(rules) > 45 and len({rule.id for rule in rules}) > 45
    for rule in rules:
        assert re.match(r"[A-Z0-9`⟦]", rule.statement) and rule.statement.endswith("."), rule
        assert 4 <= len(rule.statement.split()) <= 60 and not re.search(r"\{[A-Z_]+[\[}]", rule.statement), rule


def test_each_rule_is_applied():
    """A function that returns complaints is applied by a test, or used by one that is."""
    applied = {
        function
        for file in rulebook.APPLYING
        for test in rulebook.tests(file)
        for _, function in rulebook.applied(test)
    }
    text = "".join(path.read_text("utf-8") for path in HERE.glob("*.py") if not path.name.startswith("test_rules"))
    for path in sorted(HERE.glob("*_rules.py")):
        module = __import__(f"tests.course.{path.stem}", fromlist=["_"])
        for name, thing in vars(module).items():
            if rulebook.is_rule(thing) and not name.startswith("_") and thing.__module__ == module.__name__:
                used = len(re.findall(rf"\b{name}\(", text)) > 1  # beside its definition
                assert thing in applied or used, f"no test applies {module.__name__}.{name}"


def test_figures_come_from_constants(monkeypatch):
    from tests.course import answer_rules, style_rules

    monkeypatch.setattr(style_rules, "LINES", 99)
    assert "at most 99 lines" in rulebook.statement(style_rules.size)
    monkeypatch.setattr(answer_rules, "WORDS", {"Thirty seconds": (41, 111), "Three minutes": (7, 8)})
    assert "has 41 to 111 words, `Three minutes` 7 to 8." in rulebook.statement(answer_rules.sections_right)


@pytest.mark.parametrize(
    "code, words",
    [
        ("def test_new():\n    assert True", "test_new applies no rule"),
        ("def test_new():\n    assert x_rules.silent(1) == []", "say in the docstring of silent"),
    ],
)
def test_a_rule_without_a_statement_is_noticed(monkeypatch, code, words):
    def silent(text) -> list[str]: ...

    silent.__annotations__["return"] = "list[str]"
    module = type(sys)("x_rules", "About x.")
    module.silent = silent
    monkeypatch.setattr(rulebook, "tests", lambda file: rulebook.ast.parse(code).body)
    monkeypatch.setattr(rulebook.importlib, "import_module", lambda name: module)
    with pytest.raises(ValueError, match=words):
        rulebook.rules()


def test_a_test_with_a_docstring_is_a_rule(monkeypatch):
    code = 'def test_all_is_well():\n    """All is well,\n    always.\n\n    Or so.\n    """\n    assert a_rules.b'
    monkeypatch.setattr(rulebook, "tests", lambda file: rulebook.ast.parse(code).body)
    assert [(rule.id, rule.statement) for rule in rulebook.rules()] == [("all_is_well", "All is well, always.")]


def test_a_page_without_a_place_for_the_list_is_refused():
    with pytest.raises(ValueError, match="no list of rules"):
        rulebook.listed("# Contributing")


# ---------------------------------------------------------------- figures, commands, quotes


def test_the_budget_is_that_of_the_tests():
    rows = dict(re.findall(r"(?m)^\| ([^|]+?) \| ([\d,]+)", TEXT))
    said = [int(value.replace(",", "")) for value in rows.values()]
    assert said == [budget.CHAPTER, budget.SOLUTIONS, budget.UNIT_TESTS, budget.WALL]


@pytest.mark.parametrize("line", sorted(set(re.findall(r"python course\.py ([a-z][^`\n#]*)", TEXT))))
def test_commands_are_understood(line):
    from commands.parts.command_line import parser_of, verbs

    verb, *rest = line.replace("…", "x").split("  -k")[0].split()
    known = verbs()
    parser = parser_of(verb, known[verb])
    parsed, unknown = parser.parse_known_args(rest)
    assert parsed and (not unknown or getattr(known[verb], "PASSES_ON", False))


def test_the_quotes_of_step_seven_are_quotes():
    section = TEXT[TEXT.index("**7.") : TEXT.index("**8.")]
    assert quotes.quoted(section) == ["Q11-bytes", "networks: mlp int8 default, latency ratio"]
    assert quotes.refresh("{{Q11-bytes}}", {"Q11-bytes": "26.2 %"}) == "<!--Q11-bytes-->26.2 %<!--/-->"


# ---------------------------------------------------------------- docs/writing-pages.md

FENCES = re.findall(r"(?ms)^```(\w*)\n(.*?)^```", WRITING)
EXAMPLES = [text for language, text in FENCES if language == "python" and "tagged `standalone`" not in text]


@pytest.fixture
def shown(monkeypatch):
    """What examples show, as plain text."""
    import IPython.display

    said: list[str] = []
    monkeypatch.setattr(claims, "_sentences", {})
    monkeypatch.setattr(claims, "_display", lambda plain, rich, entry: said.append(plain))
    monkeypatch.setattr(source, "show_forms", lambda forms: said.append(forms["text/plain"]))
    monkeypatch.setattr(IPython.display, "display", lambda data, **_: said.append(data["text/plain"]))
    return said


def test_the_examples_do_what_the_page_says(shown):
    names: dict = {}
    for (language, text), (following, output) in zip(FENCES, [*FENCES[1:], ("", "")], strict=True):
        if text in EXAMPLES:
            shown.clear()
            exec(compile(text, "docs/writing-pages.md", "exec"), names)
            assert shown, f"shows nothing:\n{text}"
            if following == "text":
                assert "\n".join(shown) == output.rstrip("\n")
        else:
            assert language == "text" or "standalone" in text, f"what is this fence?\n{text}"
    assert len(EXAMPLES) >= 7 and sum(language == "text" for language, _ in FENCES) == 2


def test_the_standalone_example_runs_alone():
    (example,) = [text for _, text in FENCES if "tagged `standalone`" in text]
    cells = [new_markdown_cell("# Little"), new_code_cell(example, metadata={"tags": ["standalone"]})]
    assert standalone.run(recipes.cells(new_notebook(cells=cells))) == []


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_are_laid_out_like_cells(example):
    settings = f"--config={ROOT / 'notebooks/ruff.toml'}"
    command = [sys.executable, "-m", "ruff", "format", "-q", settings, "--stdin-filename=cell.py", "-"]
    done = subprocess.run(command, input=example, capture_output=True, text=True)
    assert done.stdout == example


CALLS = re.findall(r"`((?:r = )?[dr]\.[^`]+)`", WRITING[WRITING.index("| shape") : WRITING.index("## Charts")])


@pytest.mark.parametrize("call", CALLS)
def test_each_call_of_the_table_draws(shown, call):
    ruler = next(text for text in CALLS if text.startswith("r = "))
    with drawings.canvas(height=200, alt="One shape after the other, to try the table") as d:
        names = {"d": d}
        exec(f"{ruler}\n{call}" if call.startswith("r.") else call, names)
        drawn = len(d.axes.texts) + len(d.axes.lines) + len(d.axes.patches)
    assert drawn and shown


def test_the_table_has_every_shape():
    shapes = {name for name, _ in inspect.getmembers(drawings.Canvas, inspect.isfunction) if not name.startswith("_")}
    assert shapes - {"complaints"} == {re.search(r"[dr]\.(\w+)", call)[1] for call in CALLS} - {"at", "at_level"}


# ---------------------------------------------------------------- docs/reviews


def test_three_readings_with_the_same_parts():
    assert [path.name for path in REVIEWS] == ["breaker.md", "expert.md", "reader.md"]
    for path in REVIEWS:
        text = path.read_text("utf-8")
        assert path.name in TEXT
        titles = re.findall(r"(?m)^## (.+)$", text)
        assert [titles[0], *titles[2:]] == ["The pages", "The report", "What the author does with it"], path.name


def test_a_chapter_is_rendered_by_the_readers_command(tmp_path):
    line = next(line for line in REVIEWS[2].read_text("utf-8").splitlines() if "notebooks/08_" in line)
    (tmp_path / "notebooks").mkdir()
    notebook = new_notebook(cells=[new_markdown_cell("# 08 · Little"), new_code_cell("1 + 1")])
    nbformat.write(notebook, tmp_path / "notebooks/08_little.ipynb")
    arguments = line.split()
    assert arguments[0] == "jupyter" and arguments.pop() == "notebooks/08_*.ipynb"
    command = [sys.executable, "-m", *arguments, "notebooks/08_little.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-500:]
    assert "08 · Little" in (tmp_path / "build/pages/08_little.html").read_text("utf-8")
