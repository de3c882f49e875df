"""The standalone cells of each chapter are a complete program, and docs/recipes.md has them as they are."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from tests.course import standalone
from tests.course.notebooks import every, read
from tests.harness.daily import todays
from utils import ROOT
from utils.study import recipes

CHAPTERS = {nb.number: recipes.cells(nb.content) for nb in map(read, every()) if nb.is_chapter}


@pytest.mark.parametrize("number", todays(list(CHAPTERS), 3))  # `standalone_there` says which must have some
def test_a_chapters_standalone_cells_run_by_themselves(number):
    """A chapter's cells tagged `standalone` are one program: it runs in an empty folder, without `utils`.  Each day
    another third of the chapters; `COURSE_EVERY=1` in the environment: all."""
    assert standalone.run(CHAPTERS[number]) == []


@pytest.mark.parametrize("number", CHAPTERS)
def test_a_chapters_standalone_cells_name_nothing_of_other_cells(number):
    """A chapter's cells tagged `standalone` use no name that another cell defines, and import nothing of the course."""
    assert standalone.strangers(CHAPTERS[number]) == []


def test_the_page_of_recipes_is_up_to_date():
    """`docs/recipes.md` has the standalone cells as they are now: `course.py quote` writes it."""
    written = (ROOT / recipes.PAGE).read_text("utf-8")
    assert written == recipes.page(), "run `python course.py quote`"


# ---------------------------------------------------------------- a notebook in little


def notebook(*sources: str, tags=("standalone",)):
    made = [new_markdown_cell("# 04 · Little"), new_code_cell("import utils")]
    for k, source in enumerate(sources):
        made += [new_markdown_cell(f"## Step {k}"), new_code_cell(source, metadata={"tags": list(tags)})]
    return new_notebook(cells=made)


GOOD = ("import json, os\ntext = json.dumps([1])", "assert json.loads(text) == [1]\nassert os.listdir() == []")


def test_tagged_cells_are_one_program_in_their_order():
    assert standalone.run(recipes.cells(notebook(*GOOD))) == []
    tagged = recipes.cells(notebook(*GOOD))
    assert [(cell.position, cell.heading) for cell in tagged] == [(2, "Step 0"), (3, "Step 1")]
    assert recipes.cells(notebook(*GOOD, tags=["other"])) == []


@pytest.mark.parametrize(
    "sources, words",
    [
        (("import utils",), "`utils`"),
        (("from commands.parts import files",), "`commands`"),
        (("x = 1", "def f():\n    from utils.claims import claim"), "`utils`"),
        (("x = 1", "print(x, forgotten)"), "cell 3: Step 1.*`forgotten`"),
    ],
)
def test_what_another_cell_brought_is_seen_without_running(sources, words):
    with pytest.raises(AssertionError, match=words):
        assert not (found := standalone.strangers(recipes.cells(notebook(*sources)))), found
    assert standalone.strangers(recipes.cells(notebook(*GOOD))) == []


@pytest.mark.parametrize(
    "sources, words",
    [
        (("import utils",), "cell 2: Step 0.*No module named 'utils'"),
        (("import commands",), "No module named 'commands'"),
        (("x = 1", "from utils.claims import claim"), "cell 3: Step 1.*No module named 'utils'"),
        (("print(forgotten)",), "cell 2.*'forgotten' is not defined"),
        (("open('data/x.npy')",), "cell 2.*No such file"),
        (("x = 1\n%matplotlib inline",), "cell 2 is no Python"),
        (("import sys\nsys.exit(3)",), "does not run without the course"),
        (("import os\nassert 'TF_USE_LEGACY_KERAS' in os.environ",), "cell 2.*AssertionError"),
        (("import socket\nsocket.create_connection(('192.0.2.1', 80))",), "cell 2.*NetworkBlocked"),
        (("while True:\n    pass",), "does not end within 3 s"),
    ],
)
def test_what_needs_the_course_is_noticed(sources, words):
    with pytest.raises(AssertionError, match=words):
        assert not (found := standalone.run(recipes.cells(notebook(*sources)), timeout=3)), found
