"""A reader's answer in a stored chapter is found; the course's own stubs are none."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from tests.harness import answers
from utils import ROOT

STUB = 'def my_scale(x):\n    """Return the scale."""\n    ...\n\n\ncheck("03-1", my_scale)'


def said(text: str) -> list:
    return [new_output("stream", name="stdout", text=text)]


def chapter(tmp_path, source: str, outputs: list, count: int | None = 2) -> str:
    path = tmp_path / "notebooks/03_a.ipynb"
    path.parent.mkdir()
    cells = [
        new_code_cell("import utils", execution_count=1),
        new_code_cell(source, outputs=outputs, execution_count=count),
    ]
    nbformat.write(new_notebook(cells=cells), path)
    return answers.found(path)


@pytest.mark.parametrize(
    ("source", "outputs"),
    [
        (STUB, said("○ 03-1  not attempted yet: a scale")),
        (STUB, []),
        (STUB.replace("...", "pass"), []),
        (STUB.replace("...", "raise NotImplementedError"), []),
        (STUB.replace("...", "scale = ...\n    return scale"), []),
        ('my_scale = ...\ncheck("03-1", my_scale)', []),
        ('my_scale = (1, ...)\ncheck("03-1", my_scale)', []),
        ('check("03-1", defined_elsewhere)', []),
        ("claim('C03-a', 'so', measured=1, below=2)", said("✔ C03-a  so  ⟦1⟧")),
        ("print('✔ 03-1')", said("✔ 03-1")),
    ],
)
def test_a_stub_is_no_answer(tmp_path, source, outputs):
    assert chapter(tmp_path, source, outputs) == ""


@pytest.mark.parametrize(
    ("source", "outputs"),
    [
        (STUB.replace("...", "return 1"), []),
        (STUB.replace("...", "return 1 +"), []),
        (STUB, said("✔ 03-1  right: a scale")),
        (STUB, said("○ 03-2  …\n✘ 03-1  your scale is an integer")),
        ('my_scale = 3\ncheck("03-1", my_scale)', []),
        ("my_scale = lambda x: x\ncheck('03-1', my_scale)", []),
    ],
)
def test_an_answer_is_found_and_named(tmp_path, source, outputs):
    sentence = chapter(tmp_path, source, outputs)
    assert "notebooks/03_a.ipynb, cell [2], holds an answer to exercise 03-1" in sentence
    assert "git restore notebooks/03_a.ipynb" in sentence and "my/" in sentence


def test_an_answer_that_was_not_run_is_named_by_position(tmp_path):
    assert "the cell at position 2, holds" in chapter(tmp_path, STUB.replace("...", "return 1"), [], count=None)


@pytest.mark.parametrize("content", ["", "{", "[]", '{"cells": [1]}', '{"cells": [{"cell_type": "code"}]}'])
def test_a_damaged_notebook_has_no_answers(tmp_path, content):
    (tmp_path / "03_a.ipynb").write_text(content, encoding="utf-8")
    assert answers.found(tmp_path / "03_a.ipynb") == ""


@pytest.mark.parametrize("path", sorted(ROOT.glob("solutions/*.ipynb")), ids=lambda path: path.name)
def test_every_solution_is_an_answer(path):
    assert "holds an answer" in answers.found(path)
