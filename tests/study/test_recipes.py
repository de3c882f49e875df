"""The page of recipes is made from the tagged cells and from nothing else."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from utils.study import questions, recipes


@pytest.fixture
def course(tmp_path):
    """A course with a chapter that has three tagged cells, its second notebook, and a chapter that has none."""
    (tmp_path / "notebooks").mkdir()
    tagged = {"metadata": {"tags": ["standalone"]}}
    cells = [
        new_markdown_cell("# 04 · Files\n\n## Q6 · Which modes?\n\n```python\n# no heading\n```"),
        new_code_cell("import utils"),
        new_code_cell("x = 1\ny = 2", **tagged),
        new_code_cell("print(x)", **tagged),
        new_markdown_cell("### Later"),
        new_code_cell("z = 3", **tagged),
    ]
    nbformat.write(new_notebook(cells=cells), tmp_path / "notebooks" / "04_files.ipynb")
    nbformat.write(new_notebook(cells=cells[:2]), tmp_path / "notebooks" / "05_none.ipynb")
    nbformat.write(new_notebook(cells=cells[4:]), tmp_path / "notebooks" / "04b_more.ipynb")
    return tmp_path


def test_sections_sources_and_links(course):
    page = recipes.page(course)
    assert page.endswith(
        f"## 04 · {questions.CHAPTERS['04'].title}\n\nFrom [the chapter](../notebooks/04_files.ipynb).\n\n"
        "### Q6 · Which modes?\n\n```python\nx = 1\ny = 2\n```\n\n```python\nprint(x)\n```\n\n"
        "### Later\n\n```python\nz = 3\n```\n\n"
        f"## 04b · {questions.CHAPTERS['04b'].title}\n\nFrom [the chapter](../notebooks/04b_more.ipynb).\n\n"
        "### Later\n\n```python\nz = 3\n```\n"
    )
    assert "import utils" not in page and "05" not in page


def test_without_tagged_cells_the_page_says_so(tmp_path):
    assert recipes.page(tmp_path).endswith("No chapter has such cells yet.\n")


def test_the_program_names_its_cells(course):
    tagged = recipes.cells(nbformat.read(course / "notebooks/04_files.ipynb", as_version=4))
    assert recipes.program(tagged) == (
        "# cell 2: Q6 · Which modes?\nx = 1\ny = 2\n\n# cell 3: Q6 · Which modes?\nprint(x)\n\n# cell 4: Later\nz = 3\n"
    )


def test_chapters_come_in_their_order_whatever_the_file_system_says(course, monkeypatch):
    inside = type(course).glob
    monkeypatch.setattr(type(course), "glob", lambda *a, **k: sorted(inside(*a, **k), reverse=True))
    page = recipes.page(course)
    assert page.index("## 04 · ") < page.index("## 04b · ")


def test_headings_are_the_last_ones_of_a_text_and_never_comments_of_code():
    tagged = {"tags": ["standalone", "other"]}
    texts = ["# A\n## B ", "~~~\n# c\n~~~\nwords", "```python\n# d\n```\n### E\n```\n# f\n```"]
    cells = [{"cell_type": "code", "source": ["a"], "metadata": tagged}]
    for text in texts:
        cells += [{"cell_type": "markdown", "source": [text]}, {"cell_type": "code", "source": "x", "metadata": tagged}]
    cells += [
        {"cell_type": "raw", "source": "r"},
        {"cell_type": "code", "source": "y", "metadata": {"tags": ["other"]}},
    ]
    found = [(cell.position, cell.heading) for cell in recipes.cells({"cells": cells})]
    assert found == [(1, ""), (2, "B"), (3, "B"), (4, "E")]


def test_a_chapter_that_is_begun_has_no_recipes(course):
    file = course / "notebooks" / "04_files.ipynb"
    file.write_text(file.read_text("utf-8").replace("import utils", "PLACEHOLDER" + " 04: code"), encoding="utf-8")
    assert "## 04 · " not in recipes.page(course) and "## 04b · " in recipes.page(course)
