"""A chapter begun from the template breaks no rule once it was run."""

from __future__ import annotations

import importlib
import subprocess
import sys

import nbformat
import pytest

from commands import new
from commands.parts import execution
from commands.parts.errors import Problem
from commands.parts.normalize import normalize
from tests.course import chapter_rules, output_rules, standalone, style_rules
from tests.course.notebooks import read
from utils.study import checks, exercises, quiz, recipes


@pytest.fixture
def begun(tmp_path, monkeypatch):
    """Chapter 06 from the template, in a folder of its own, executed; its checks and quiz found there."""
    paths = new.create("06", "template", tmp_path)
    monkeypatch.setattr(checks, "__path__", [str(tmp_path / "utils/study/checks")])
    monkeypatch.setattr(quiz, "FOLDER", tmp_path / "data/quizzes")
    monkeypatch.setattr(quiz.load, "__defaults__", (tmp_path / "data/quizzes",))
    monkeypatch.setattr(exercises, "_registered", {})
    monkeypatch.setattr(execution, "shown", lambda path: path.name)  # it is not below the course
    monkeypatch.delitem(importlib.sys.modules, "utils.study.checks.ch06", raising=False)
    return paths


def run(path, tmp_path):
    """Execute `path` in a kernel that finds the new checks and quiz."""
    notebook = nbformat.read(path, as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    written = code.source
    code.source += (
        f"\nfrom utils.study import checks\nchecks.__path__ = [{str(tmp_path / 'utils/study/checks')!r}]"
        f"\nfrom utils.study import quiz\nfrom pathlib import Path\n"
        f"quiz.load.__defaults__ = (Path({str(tmp_path / 'data/quizzes')!r}),)"
    )
    nbformat.write(notebook, path)
    done = normalize(execution.execute(path).notebook)
    next(cell for cell in done.cells if cell.cell_type == "code").source = written
    nbformat.write(normalize(done), path)
    return read(path)


def test_the_chapter_and_its_solutions_break_no_rule(begun, tmp_path):
    chapter, solutions = (run(path, tmp_path) for path in begun[:2])
    rules = [*chapter_rules.CHAPTER_RULES, *style_rules.STYLE_RULES]
    broken = [text for rule in rules for text in rule(chapter)]
    broken += [text for rule in chapter_rules.SOLUTION_RULES for text in rule(solutions)]
    broken += [text for nb in (chapter, solutions) for rule in output_rules.OUTPUT_RULES for text in rule(nb)]
    assert broken == []
    assert standalone.run(recipes.cells(chapter.content)) == []
    command = [sys.executable, "-m", "ruff", "format", "--check", "--isolated", "--line-length=88", *begun[:2]]
    assert subprocess.run(command).returncode == 0


def test_nothing_is_overwritten(tmp_path):
    new.create("06", "pruning", tmp_path)
    with pytest.raises(Problem, match=r"notebooks/06_pruning\.ipynb is there already"):
        new.create("06", "pruning", tmp_path)


@pytest.mark.parametrize(
    "number, topic, sentence", [("19", "x", "no chapter 19"), ("06", "My Topic", "lower-case words")]
)
def test_what_makes_no_chapter_is_refused(tmp_path, number, topic, sentence):
    with pytest.raises(Problem, match=sentence):
        new.create(number, topic, tmp_path)
    assert not any(tmp_path.iterdir())
