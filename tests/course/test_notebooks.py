"""The rules, applied to the notebooks that there are."""

from __future__ import annotations

import subprocess
import sys
import tomllib

import pytest

from commands.parts import ledger
from tests.course import chapter_rules, ledger_rules, link_rules, name_rules, output_rules, quiz_rules, style_rules
from tests.course.notebooks import Notebook, every, number_of, read
from utils import ROOT
from utils.study import exercises, placeholders, quiz

PATHS = every()
ALL = {path: read(path) for path in PATHS}
#: Chapters that `course.py new` began: until no placeholder is left, one test speaks of them, the last of this file.
BEGUN = placeholders.unfinished()
FINISHED = [path for path, nb in ALL.items() if nb.number not in BEGUN]
CHAPTERS = [path for path in FINISHED if ALL[path].is_chapter]
SOLUTIONS = [path for path in FINISHED if ALL[path].folder == "solutions"]


def cases(paths, rules):
    return [pytest.param(rule, ALL[path], id=f"{ALL[path].shown}-{rule.__name__}") for path in paths for rule in rules]


def complaints(found: list[str], where: str) -> str:
    return "\n".join([f"{where}:", *(f"  - {text}" for text in found)])


def test_there_are_notebooks():
    """The chapters are there."""
    assert CHAPTERS, "notebooks/ is empty: restore it with `git checkout notebooks solutions`"


@pytest.mark.parametrize("rule, nb", cases(CHAPTERS, chapter_rules.CHAPTER_RULES))
def test_chapter(rule, nb: Notebook):
    assert not (found := rule(nb)), complaints(found, nb.shown)


@pytest.mark.parametrize("rule", style_rules.STYLE_RULES, ids=lambda rule: rule.__name__)
def test_style(rule):
    found = {ALL[path].number: (ALL[path], rule(ALL[path])) for path in CHAPTERS}
    wrong = [complaints(texts, nb.shown) for nb, texts in found.values() if texts and not waits(nb)]
    assert not wrong, "\n".join(wrong)


def waits(nb: Notebook) -> bool:
    return nb.number in chapter_rules.AWAITING_REWRITE


def test_only_chapters_that_are_there_await_their_rewriting():
    """`AWAITING_REWRITE` names only chapters that still break a rule of how a chapter reads, as both `ruff.toml` do."""
    assert set(chapter_rules.AWAITING_REWRITE) <= {ALL[path].number for path in CHAPTERS}
    solved = [
        nb.number
        for nb in ALL.values()
        if nb.is_chapter and waits(nb) and not any(rule(nb) for rule in style_rules.STYLE_RULES)
    ]
    assert solved == [], "these chapters keep all rules: take them out of AWAITING_REWRITE and of ruff.toml"
    waiting = [f"{number}_*.ipynb" for number in chapter_rules.AWAITING_REWRITE]
    for folder in ("notebooks", "solutions"):
        settings = tomllib.loads((ROOT / folder / "ruff.toml").read_text("utf-8"))
        assert settings["format"]["exclude"] == waiting, f"{folder}/ruff.toml"


def test_quizzes():
    rules = (quiz_rules.feedback_agrees, quiz_rules.numbers_computed)
    chapters = [ALL[path] for path in CHAPTERS if not waits(ALL[path])]
    found = {nb.number: [text for rule in rules for text in rule(quiz.load(nb.number))] for nb in chapters}
    for nb in chapters:
        found[nb.number] += quiz_rules.feedback_worked(quiz.load(nb.number), nb)
    wrong = [complaints(texts, f"data/quizzes/{number}.json") for number, texts in found.items() if texts]
    assert not wrong, "\n".join(wrong)


def test_figures_of_solutions():
    chapters = {ALL[path].number: ALL[path] for path in CHAPTERS}
    pairs = [(nb, chapters[nb.number]) for nb in (ALL[path] for path in SOLUTIONS) if nb.number in chapters]
    wrong = [complaints(found, nb.shown) for nb, twin in pairs if (found := quiz_rules.solution_worked(nb, twin))]
    assert not wrong, "\n".join(wrong)


#: Chapters whose last hints were written before `last_hint_leads_there`.  It only gets shorter.
AWAITING_HINTS: tuple[str, ...] = ()


def test_last_hints():
    wrong = []
    for nb in (ALL[path] for path in SOLUTIONS if ALL[path].number not in AWAITING_HINTS):
        solution = "\n".join(cell.source for cell in nb.code)
        for id, exercise in exercises.exercises_of(nb.number).items():
            found = quiz_rules.last_hint_leads_there(exercise.hints[-1], solution)
            wrong += [complaints(found, f"the last hint of {id}")] if found else []
    assert not wrong, "\n".join(wrong)


def test_cells_are_formatted():
    """Cells are laid out by `ruff format notebooks solutions`."""
    command = [
        sys.executable,
        "-m",
        "ruff",
        "format",
        "--check",
        "--force-exclude",
        "--quiet",
        "notebooks",
        "solutions",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, f"run `ruff format notebooks solutions`: {(done.stdout + done.stderr)[:800]}"


@pytest.mark.parametrize("rule, nb", cases(SOLUTIONS, chapter_rules.SOLUTION_RULES))
def test_solutions(rule, nb: Notebook):
    assert not (found := rule(nb)), complaints(found, nb.shown)


@pytest.mark.parametrize("rule, nb", cases(FINISHED, output_rules.OUTPUT_RULES))
def test_outputs(rule, nb: Notebook):
    assert not (found := rule(nb)), complaints(found, nb.shown)


@pytest.mark.parametrize("path", PATHS, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_links(path):
    text = "\n\n".join(cell.source for cell in ALL[path].text)
    assert not (found := link_rules.broken_links(text, path, ROOT)), complaints(found, ALL[path].shown)


def test_chapters_and_solutions_are_twins():
    chapters = [nb.name for nb in ALL.values() if nb.is_chapter]
    found = ledger_rules.solutions_exist(chapters, [nb.name for nb in ALL.values() if nb.folder == "solutions"])
    assert not found, complaints(found, "notebooks and solutions")


def test_claim_ids_are_unique():
    assert not (found := ledger_rules.ids_are_unique(list(ALL.values()))), complaints(found, "the course")


def test_the_ledger_has_what_the_notebooks_say():
    kept = [entry for entry in ledger.read() if number_of(entry["notebook"].partition("/")[2]) not in BEGUN]
    found = ledger_rules.ledger_agrees([ALL[path] for path in FINISHED], kept)
    assert not found, complaints(found, "data/results/claims.json")


def test_every_tensorflow_name_exists():
    """Each dotted name of TensorFlow and its relatives, in code and text, exists in the versions that are pinned."""
    pages = [ROOT / "README.md", *ROOT.glob("interview/*.md"), *ROOT.glob("docs/**/*.md")]
    where = {nb.shown: name_rules.in_notebook(nb) for nb in ALL.values()}
    where |= {
        p.relative_to(ROOT).as_posix(): name_rules.in_markdown(p.read_text("utf-8")) for p in pages if p.is_file()
    }
    found = name_rules.unknown(set().union(*where.values()))
    assert not found, complaints(
        [
            f"{name} does not exist in the pinned version; named in "
            f"{[file for file, names in where.items() if name in names]}"
            for name in found
        ],
        "names",
    )


def test_no_placeholder_is_left():
    """No placeholder of `course.py new` is left, nor the template's words without their mark."""
    left = [str(placeholder) for placeholder in placeholders.found()]
    begun = [nb for nb in ALL.values() if nb.number in BEGUN and all(cell.execution_count for cell in nb.code)]
    broken = [complaints(found, nb.shown) for nb in begun if (found := said_of(nb))]
    assert not left, "\n".join([complaints(left, "still to be written"), *broken])


def said_of(nb: Notebook) -> list[str]:
    """What the rules say of a notebook."""
    own = [*chapter_rules.CHAPTER_RULES, *style_rules.STYLE_RULES] if nb.is_chapter else chapter_rules.SOLUTION_RULES
    return [text for rule in (*own, *output_rules.OUTPUT_RULES) for text in rule(nb)]
