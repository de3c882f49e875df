"""`new` writes every file of a chapter or none; what it writes keeps the rules and never passes as finished."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from commands import new, run
from commands.parts import execution, files, ledger
from commands.parts.errors import Problem
from commands.parts.normalize import normalize
from tests.course import answer_rules, chapter_rules, code_rules, link_rules, output_rules, standalone, style_rules
from tests.course.notebooks import read
from utils import ROOT
from utils.study import checks, exercises, placeholders, questions, quiz, quotes, recipes

HELPER = "optimize/family/sparse"


@pytest.fixture
def begun(tmp_path):
    """All files of chapter 06, in a folder of its own."""
    return new.create("6", "template", HELPER, tmp_path)


def names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} - {".cache/new.lock"}


def test_every_file_of_a_chapter_is_written(begun, tmp_path):
    assert names(tmp_path) == {path.relative_to(tmp_path).as_posix() for path in begun} == {
        "notebooks/06_template.ipynb",
        "solutions/06_template.ipynb",
        "utils/study/checks/ch06.py",
        "tests/study/checks/test_ch06.py",
        "data/quizzes/06.json",
        "utils/optimize/__init__.py",
        "utils/optimize/family/__init__.py",
        "utils/optimize/family/sparse.py",
        "tests/optimize/family/test_sparse.py",
        "benchmarks/template.py",
        "tests/benchmarks/test_template.py",
        "interview/q08.md",
        "interview/q09.md",
        "interview/q10.md",
        "docs/decisions/0001-template.md",
    }  # fmt: skip


def test_each_file_has_placeholders_and_no_key_of_the_template(begun, tmp_path):
    marked = {placeholder.file for placeholder in placeholders.found(tmp_path)}
    assert marked == {path.relative_to(tmp_path).as_posix() for path in begun}
    assert placeholders.unfinished(tmp_path) == {"06"}
    assert [path for path in begun if re.search(r"@[A-Z_]+@", path.read_text("utf-8"))] == []


@pytest.mark.parametrize("number", [n for n, chapter in questions.CHAPTERS.items() if chapter.questions])
def test_each_chapter_can_be_begun(tmp_path, number):
    new.create(number, "some_topic", None, tmp_path)
    pages = sorted(path.name for path in (tmp_path / "interview").iterdir())
    assert answer_rules.answers_there(number, pages) == [] and len(pages) == len(questions.CHAPTERS[number].questions)
    for page in pages:
        text = (tmp_path / "interview" / page).read_text("utf-8")
        assert answer_rules.fields_right(text, page) == []
        assert all(" words; " in complaint for complaint in answer_rules.sections_right(text))  # the author's to write
    nb = read(tmp_path / f"notebooks/{number}_some_topic.ipynb")
    assert not any(
        rule(nb) for rule in (chapter_rules.question_headings, chapter_rules.minutes, chapter_rules.core_path)
    )


def test_code_is_laid_out_tested_and_light(begun, tmp_path):
    ruff = [sys.executable, "-m", "ruff"]
    modules = [str(path) for path in begun if path.suffix == ".py"]
    settings = f"--config={ROOT / 'pyproject.toml'}"
    # the order of imports depends on what lies around: ruff takes `utils` for a foreign package here
    assert subprocess.run([*ruff, "check", "-q", settings, "--ignore=I001", *modules]).returncode == 0
    assert subprocess.run([*ruff, "format", "-q", "--check", settings, *modules]).returncode == 0
    page = ["--isolated", "--line-length=88", *map(str, begun[:2])]
    assert subprocess.run([*ruff, "format", "-q", "--check", *page]).returncode == 0
    for path in map(Path, modules):
        name, source = path.relative_to(tmp_path).as_posix(), path.read_text("utf-8")
        assert code_rules.tests_assert(source, name) == []
        assert code_rules.light_at_import(source, "utils.data") == []
    for path in begun:
        if path.suffix == ".md":
            assert link_rules.broken_links(path.read_text("utf-8"), path, tmp_path) == []


def test_tests_that_are_written_pass(begun, tmp_path):
    """The helper's, the benchmark's and the exercises' own tests, in a course that has only these files."""
    for name in ("utils/**/*.py", "benchmarks/*.py", "tests/study/checks/answers.py"):
        for path in ROOT.glob(name):
            target = tmp_path / path.relative_to(ROOT)
            if not target.exists() or target.name == "__init__.py":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(path.read_bytes())
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    command = [sys.executable, "-m", "pytest", "-q", "--import-mode=importlib", "-p", "no:cacheprovider"]
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    done = subprocess.run(
        [*command, f"--rootdir={tmp_path}", "-c", str(tmp_path / "pytest.ini"), str(tmp_path / "tests")],
        env=environment, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]
    assert re.search(r"\b[2-9]\d passed", done.stdout), done.stdout[-500:]


# ---------------------------------------------------------------- executed


@pytest.fixture
def executed(begun, tmp_path, monkeypatch):
    """Chapter and solutions, executed in kernels that find the new files; `run.store` wrote them."""
    monkeypatch.setattr(checks, "__path__", [str(tmp_path / "utils/study/checks")])
    monkeypatch.setattr(quiz, "FOLDER", tmp_path / "data/quizzes")
    monkeypatch.setattr(exercises, "_registered", {})
    monkeypatch.setattr(execution, "shown", lambda path: path.name)  # it is not below the course
    module = "utils.study.checks.ch06"  # the written one is back afterwards, or is imported anew
    monkeypatch.setattr(checks, "ch06", None, raising=False)
    monkeypatch.setitem(importlib.sys.modules, module, None)
    monkeypatch.delitem(importlib.sys.modules, module)
    return [_executed(path, tmp_path) for path in begun[:2]]


def _executed(path: Path, root: Path):
    notebook = nbformat.read(path, as_version=4)
    code = next(cell for cell in notebook.cells if cell.cell_type == "code")
    written = code.source
    code.source += (
        f"\nfrom pathlib import Path\nfrom utils import optimize\nfrom utils.study import checks, quiz\n"
        f"checks.__path__ = [{str(root / 'utils/study/checks')!r}]\n"
        f"optimize.__path__ = [{str(root / 'utils/optimize')!r}]\n"
        f"quiz.FOLDER = Path({str(root / 'data/quizzes')!r})"
    )
    nbformat.write(notebook, path)
    done = normalize(execution.execute(path).notebook)
    next(cell for cell in done.cells if cell.cell_type == "code").source = written
    nbformat.write(normalize(done), path)
    return read(path)


def test_once_run_the_chapter_and_its_solutions_break_no_rule(executed):
    chapter, solutions = executed
    rules = [*chapter_rules.CHAPTER_RULES, *style_rules.STYLE_RULES]
    broken = [text for rule in rules for text in rule(chapter)]
    broken += [text for rule in chapter_rules.SOLUTION_RULES for text in rule(solutions)]
    broken += [text for nb in executed for rule in output_rules.OUTPUT_RULES for text in rule(nb)]
    assert broken == []
    assert standalone.run(recipes.cells(chapter.content)) == []


def test_a_begun_chapter_is_left_out(begun, tmp_path, monkeypatch):
    figures = tmp_path / "data/results/claims.json"
    files.write_json(figures, [])
    (tmp_path / "README.md").write_text("<!--map-->\n<!--/map-->\n")
    (tmp_path / "docs/pictures").mkdir()
    monkeypatch.setattr(quotes, "PICTURES", {})
    quotes.refresh_pages(tmp_path)
    assert "06_template" not in (tmp_path / "README.md").read_text() + (tmp_path / "docs/recipes.md").read_text()
    assert "{{Q8-placeholder}}" in (tmp_path / "interview/q08.md").read_text()
    for path in begun:  # as if somebody had written it all
        path.write_text(path.read_text("utf-8").replace("PLACEHOLDER", "WRITTEN"), encoding="utf-8")
    files.write_json(figures, [{"id": f"Q{n}-placeholder", "figure": "exactly 256"} for n in (8, 9, 10)])
    quotes.refresh_pages(tmp_path)
    assert "06_template" in (tmp_path / "README.md").read_text()
    assert "standalone" not in (tmp_path / "docs/recipes.md").read_text().partition("\n## ")[2]
    assert "06_template" in (tmp_path / "docs/recipes.md").read_text()
    assert "-->exactly 256<!--" in (tmp_path / "interview/q08.md").read_text()


@pytest.mark.parametrize("mark, claims", [(f"PLACEHOLDER {6:02d}", 0), ("written", 1)])
def test_run_stores_a_begun_chapter_without_its_claims(tmp_path, monkeypatch, capsys, mark, claims):
    said = {"kind": "claim", "id": "Q8-a", "sentence": mark, "bound": {"equals": 1}, "figure": "1", "measured": 1}
    output = nbformat.v4.new_output("display_data", data={"text/plain": "x"}, metadata={"course": said})
    cell = nbformat.v4.new_code_cell(f"# {mark}", outputs=[output], execution_count=1)
    path = tmp_path / "notebooks/06_a.ipynb"
    path.parent.mkdir()
    nbformat.write(nbformat.v4.new_notebook(cells=[cell]), path)
    done = execution.Executed(nbformat.read(path, as_version=4), {1: 0.5}, 0.5)
    monkeypatch.setattr(run.environment, "ROOT", tmp_path)
    monkeypatch.setattr(run, "shown", lambda path: path.relative_to(tmp_path).as_posix())
    monkeypatch.setattr(ledger, "shown", run.shown)
    monkeypatch.setattr(
        run.chapters, "notebooks", lambda folder="notebooks": sorted((tmp_path / folder).glob("*.ipynb"))
    )
    monkeypatch.setattr(execution, "execute", lambda *_, **__: done)
    before = path.read_bytes()
    assert run.store(path, run_options())
    results = tmp_path / "data/results"
    assert len(json.loads((results / "claims.json").read_text())) == claims
    assert (results / "run_times.json").exists() is bool(claims)
    assert path.read_bytes() != before and ("placeholders" in capsys.readouterr().out) is not bool(claims)


def run_options():
    return new.argparse.Namespace(fresh=False, time_limit=60)


# ---------------------------------------------------------------- refused


@pytest.mark.parametrize(
    "number, topic, helper, sentence",
    [
        ("19", "x", None, r"no chapter '19'.* 00 to 18"),
        ("-6", "x", None, "no chapter '-6'"),
        ("six", "x", None, "no chapter 'six'"),
        ("٦", "x", None, "no chapter"),
        ("006", "x", None, "no chapter '006'"),
        ("06", "My Topic", None, "lower-case words.*'My Topic'"),
        ("06", "../up", None, "lower-case words"),
        ("06", "2_4_sparsity", None, "beginning with a letter"),
        ("06", "import", None, "lower-case words"),
        ("06", "con", None, "lower-case words"),  # benchmarks/con.py cannot be on Windows
        ("06", "x", "optimize/lpt1", "A helper is"),
        ("06", "", None, "lower-case words"),
        ("06", "x" * 100, None, "lower-case words"),
        ("06", "x", "Pruning", "A helper is NAME"),
        ("06", "x", "study/cards", "PLACE is one of measure, optimize"),
        ("06", "x", "optimize/../data", "A helper is"),
        ("06", "x", "optimize/a/b/c", "A helper is"),
        ("06", "x", "optimize/", "A helper is"),
        ("06", "x", "/etc/x", "A helper is"),
        ("06", "x", "optimize/class", "A helper is"),
        ("06", "x", "optimize/pruning.py", "A helper is"),
    ],
)
def test_what_makes_no_chapter_is_refused(tmp_path, number, topic, helper, sentence):
    with pytest.raises(Problem, match=sentence):
        new.create(number, topic, helper, tmp_path)
    assert not any(tmp_path.iterdir())


def test_places_are_those_of_the_floors():
    assert {*new.PLACES, "ground", "study"} == {*code_rules.FLOORS, "measure"}


@pytest.mark.parametrize(
    "there, helper, sentence",
    [
        ("notebooks/06_other.ipynb", None, r"Chapter 06 is there already: notebooks/06_other\.ipynb"),
        ("solutions/06_pruning.ipynb", None, r"solutions/06_pruning\.ipynb is there already; nothing was written"),
        ("interview/q09.md", None, r"interview/q09\.md is there already"),
        ("benchmarks/pruning.py", None, "Choose another topic than pruning"),
        ("tests/benchmarks/test_pruning.py", None, "Choose another topic"),
        ("utils/optimize/sparse.py", "optimize/sparse", "Choose another helper, or pass --no-helper"),
        ("tests/optimize/test_sparse.py", "optimize/sparse", "Choose another helper"),
        ("utils/optimize/sparse/a.py", "optimize/sparse", "is a folder of modules; name the module too"),
        ("utils/optimize/sparse.py", "optimize/sparse/a", r"utils/optimize/sparse\.py is a module"),
    ],
)
def test_nothing_is_overwritten(tmp_path, there, helper, sentence):
    (tmp_path / there).parent.mkdir(parents=True)
    (tmp_path / there).write_text("mine")
    with pytest.raises(Problem, match=sentence):
        new.create("06", "pruning", helper, tmp_path)
    assert names(tmp_path) == {there} and (tmp_path / there).read_text() == "mine"


def test_a_helper_or_none_has_to_be_named(capsys):
    parser = new.argparse.ArgumentParser()
    new.arguments(parser)
    assert parser.parse_args(["06", "x", "--no-helper"]).helper is None
    for wrong in (["06", "x"], ["06", "x", "--helper", "a", "--no-helper"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)
    assert "--helper --no-helper is required" in capsys.readouterr().err


# ---------------------------------------------------------------- all or nothing


def test_what_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    kept, wrote = files.write_text, []

    def fails_at_the_eighth(path, text):
        wrote.append(path)
        if len(wrote) == 8:
            raise OSError(28, "the disk is full", str(path))
        return kept(path, text)

    monkeypatch.setattr(files, "write_text", fails_at_the_eighth)
    (tmp_path / "docs").mkdir()
    with pytest.raises(Problem, match=r"Chapter 06 was not begun, in .*: the disk is full"):
        new.create("06", "pruning", HELPER, tmp_path)
    assert names(tmp_path) == set()
    assert {path.name for path in tmp_path.iterdir()} <= {".cache", "docs", "notebooks"}


def test_a_read_only_clone_is_named(tmp_path, monkeypatch):
    def read_only(folder):
        raise OSError(30, "this file system is read-only", str(folder))

    monkeypatch.setattr(files, "check_writable", read_only)
    with pytest.raises(Problem, match=r"Chapter 06 was not begun, in .*: this file system is read-only"):
        new.create("06", "pruning", None, tmp_path)
    assert not any(tmp_path.iterdir())


def killed(root: Path, after: int) -> None:
    """A process that begins chapter 06 and dies while it writes the file `after`, counted from 0."""
    content = new._contents("06", "pruning", HELPER, root)
    code = f"""import json, os, pathlib, sys
from commands import new
from commands.parts import files
kept, wrote = files.write_text, []
def dies(path, text):
    wrote.append(path)
    if len(wrote) > {after}:
        pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
        pathlib.Path(path).with_name(f".{{path.name}}.0a0a.new").write_text("half")
        os._exit(9)
    return kept(path, text)
files.write_text = dies
new._write_all(json.load(sys.stdin), pathlib.Path({str(root)!r}))"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, input=json.dumps(content), text=True)
    assert done.returncode == 9


@pytest.mark.parametrize("after", [0, 9, 14])
def test_the_half_that_a_kill_left_is_removed_by_the_next_new(tmp_path, after):
    killed(tmp_path, after)
    assert (tmp_path / new.PLAN).exists() and len(names(tmp_path)) == after + 2  # and the plan, and half a file
    made = new.create("06", "other_topic", None, tmp_path)
    assert names(tmp_path) == {path.relative_to(tmp_path).as_posix() for path in made}
    assert not (tmp_path / "utils/optimize").exists()


def test_a_half_that_somebody_wrote_into_stays(tmp_path):
    killed(tmp_path, 4)
    (tmp_path / "solutions/06_pruning.ipynb").write_text("mine")
    with pytest.raises(Problem, match="Chapter 06 is there already"):
        new.create("06", "pruning", HELPER, tmp_path)
    assert (tmp_path / "solutions/06_pruning.ipynb").read_text() == "mine" and not (tmp_path / new.PLAN).exists()


def test_a_whole_chapter_is_never_taken_for_a_half(begun, tmp_path):
    digests = {path.relative_to(tmp_path).as_posix(): new._digest(path.read_bytes()) for path in begun}
    files.write_json(tmp_path / new.PLAN, {"files": digests, "folders": []})  # killed behind the last file
    new.create("07", "sparsity", None, tmp_path)
    assert all(path.exists() for path in begun) and not (tmp_path / new.PLAN).exists()
