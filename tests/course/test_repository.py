"""The rules for code, pages and recorded results, applied to the files that there are."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.course import answer_rules, code_rules, link_rules, number_words
from tests.course.chapter_rules import AWAITING_REWRITE
from tests.harness import answers
from tests.harness.needs import needs
from utils import ROOT, recorded
from utils.study import questions, quotes

MODULES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("utils/**/*.py"))
TESTS = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("tests/**/test_*.py"))
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for folder in (".", "docs", "interview", "data", "requirements")
    for path in (ROOT / folder).glob("*.md" if folder == "." else "**/*.md")
)
ANSWERS = [path for path in quotes.finished_pages() if path.match("interview/q[0-9]*.md")]
THERE = [number for number in questions.CHAPTERS if any(ROOT.glob(f"notebooks/{number}_*.ipynb"))]
RESULTS = recorded.names()
PACKAGES = ("utils", "commands", "benchmarks", "tests")


def source(file: str) -> str:
    return (ROOT / file).read_text("utf-8")


def dotted(file: str) -> str:
    return file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


@pytest.mark.parametrize("file", MODULES)
def test_imports_go_one_way(file):
    assert code_rules.one_way_imports(source(file), dotted(file)) == []


@pytest.mark.parametrize("file", MODULES)
def test_the_ground_floor_is_light(file):
    assert code_rules.light_at_import(source(file), dotted(file)) == []


@pytest.mark.parametrize("file", MODULES)
def test_all_names_what_is_public(file):
    assert code_rules.all_is_public(source(file)) == []


@pytest.mark.parametrize("file", MODULES)
def test_what_messages_name_is_there(file):
    assert code_rules.named_functions_exist(source(file), ROOT) == []


def test_docstrings_are_of_one_dialect():
    files = [path.relative_to(ROOT).as_posix() for folder in PACKAGES for path in (ROOT / folder).rglob("*.py")]
    assert {file: wrong for file in files if (wrong := code_rules.docstrings_alike(source(file)))} == {}


@pytest.mark.parametrize("file", TESTS)
def test_every_test_can_fail(file):
    assert code_rules.tests_assert(source(file), file) == []


def test_every_module_has_its_tests():
    modules = [file.removeprefix("utils/") for file in MODULES if not file.endswith("__init__.py")]
    assert code_rules.mirrored(modules, [file.removeprefix("tests/") for file in TESTS]) == []


@pytest.mark.parametrize("file", PAGES)
def test_links_of_pages(file):
    assert link_rules.broken_links(source(file), ROOT / file, ROOT) == []


def tracked() -> list[str]:
    """The files that git knows; a visible skip where it knows none."""
    needs("clone")
    return subprocess.run(["git", "ls-files"], cwd=ROOT, text=True, capture_output=True, check=True).stdout.splitlines()


def texts(allowed: tuple[str, ...] = ()) -> dict[str, str]:
    """{file: text} of what is tracked, without data."""
    found = {}
    for file in set(tracked()) - set(allowed):
        with contextlib.suppress(UnicodeDecodeError, FileNotFoundError):  # data; deleted and not committed yet
            found[file] = source(file)
    return found


def test_no_file_names_a_machine():
    hosts = tuple(
        host
        for name in ("PIP_INDEX_URL", "UV_INDEX_URL", "UV_DEFAULT_INDEX", "npm_config_registry")
        if (host := urlsplit(os.environ.get(name, "")).hostname)
    )
    allowed = ("tests/course/test_rules.py", "tests/course/test_code_rules.py", "tests/course/code_rules.py")
    found = {file: code_rules.no_machine_names(text, ROOT, hosts) for file, text in texts(allowed).items()}
    assert {file: names for file, names in found.items() if names} == {}


def test_notebooks_that_files_name_are_there():
    """Notebooks that a file names are there, after a chapter was renamed too."""
    made_up = re.compile(r"tests/|docs/decisions/|docs/template/|data/results/|commands/new.py")
    named = {
        (file, name)
        for file, text in texts().items()
        if not made_up.match(file) and not file.endswith(".ipynb")
        for name in re.findall(r"\b\d\d[a-z]?_\w+\.ipynb", text)
    }
    assert {file for file, _ in named} & {"README.md", "commands/lab.py", "commands/test.py"}
    assert {(file, name) for file, name in named if not (ROOT / "notebooks" / name).is_file()} == set()


def test_no_merge_was_left_half_done():
    """No file holds two versions of a place, one below the other, as git leaves them where they conflict."""
    marks = re.compile(r"(?m)^(?:<{7}|>{7}) \S")
    assert [file for file, text in texts().items() if marks.search(text)] == []


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.name)
def test_no_chapter_holds_a_readers_answer(path: Path):
    """No chapter in `notebooks/` holds a reader's answer to an exercise."""
    if sentence := answers.found(path):
        pytest.fail(sentence, pytrace=False)


def ledger() -> dict[str, str]:
    return quotes.ledger() if quotes.LEDGER.is_file() else {}


def entries() -> list[dict]:
    return json.loads(quotes.LEDGER.read_text("utf-8"))


@pytest.mark.parametrize("path", ANSWERS, ids=lambda path: path.name)
def test_interview_answer(path: Path):
    text = path.read_text("utf-8")
    found = answer_rules.fields_right(text, path.name) + answer_rules.sections_right(text)
    found += answer_rules.figures_quoted(text, ledger()) + answer_rules.claims_there(text, ledger())
    if questions.chapter_of(int(path.stem[1:])) not in AWAITING_REWRITE:
        found += answer_rules.said_aloud(text) + answer_rules.figures_claimed(text, entries())
    assert not found, "\n".join([f"interview/{path.name}:", *(f"  - {text}" for text in found)])


@pytest.mark.parametrize("number", THERE)
def test_questions_of_chapters_have_answers(number):
    assert answer_rules.answers_there(number, [path.name for path in ROOT.glob("interview/*.md")]) == []


def test_readme_counts_the_answered_questions():
    """README says how many of the fifty questions are answered so far."""
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    said = re.search(r"\(interview/questions\.md\); ([\w-]+) are answered so far", text)
    assert said, "README.md says how many of the fifty questions are answered so far"
    (number,) = number_words.numbers(f"{said[1]} answers")
    assert number.value == len(list(ROOT.glob("interview/q*[0-9].md")))


@pytest.mark.parametrize("path", sorted(ROOT.glob("notebooks/*.ipynb")), ids=lambda path: path.name)
def test_readme_describes_each_chapter(path: Path):
    """Each chapter's row in README's table has its number, its title, its questions and the minutes to allow for it."""
    cells = [cell["source"] for cell in json.loads(path.read_text("utf-8"))["cells"] if cell["cell_type"] == "markdown"]
    text = "\n\n".join("".join(source) for source in cells)
    number, title = re.match(r"# (\w+) · (.+)", text).groups()
    minutes = re.search(r"(\d+) minutes", text)[1]
    (row,) = re.findall(rf"(?m)^\|.*\]\(notebooks/{path.name}\).*\|$", (ROOT / "README.md").read_text("utf-8"))
    assert re.match(rf"\| {number} \| \[{re.escape(title)}\]", row)
    assert row.endswith(f" | {minutes} |")
    if asked := re.findall(r"(?m)^## (Q\d+) · ", text):
        assert row.split(" | ")[2] == " ".join(sorted(asked, key=lambda question: int(question[1:])))


@pytest.mark.parametrize("path", quotes.finished_pages(), ids=lambda path: path.name)
def test_quotes_stand_where_their_words_are(path: Path):
    sentences = {entry["id"]: entry["sentence"] for entry in entries()}
    number = re.fullmatch(r"q(\d+)", path.stem)
    awaiting = number and questions.chapter_of(int(number[1])) in AWAITING_REWRITE
    assert answer_rules.quotes_in_place(path.read_text("utf-8"), sentences, clearly=3 if awaiting else 1) == []


@pytest.mark.parametrize("name", RESULTS)
def test_no_recorded_result_is_stale(name):
    """A record in `data/results` was made by the code and the data that there are now."""
    found = recorded.changes(name)
    assert not found, "\n".join([f"{name} is stale: run `{recorded.load(name).command}` again", *found])


def test_recorded_files_are_json_and_nothing_is_half_written():
    """Files in `data/results` are JSON or Markdown, whole."""
    files = [path for path in recorded.RESULTS.iterdir() if path.is_file() and path.name != ".gitkeep"]
    assert [path.name for path in files if path.suffix not in (".json", ".md")] == []
    assert all(json.loads(path.read_text("utf-8")) is not None for path in files if path.suffix == ".json")
