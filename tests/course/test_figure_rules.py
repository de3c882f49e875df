"""Figures in texts are found, and only those that nothing near them works out are complained about."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.course.figure_rules import figures, figures_worked
from tests.course.notebooks import Notebook


@pytest.mark.parametrize(
    "text, found",
    [
        ("It is −64.25, not 3.5.", ["−64.25", "3.5"]),
        ("about 30 % and 12 dB and 4 times", ["30 %", "12 dB", "4 times"]),
        ("| a | 0.26 |\n| b | 1,234.5 |", ["0.26", "1,234.5"]),
        ("$q = 127.5$", ["127.5"]),
        ("8 bits, 10,000 pictures, int8, LeNet-5, 2:4, Q23", []),
        ("`0.26` and\n```python\nx = 0.5\n```\n", []),
        ("TensorFlow 2.21 and 2.20, Python 3.11, version 0.8.1", []),
        ("> I measured 0.8712, why?", []),
        ("In their table it is 71.2 % ([paper](https://example.org/a)).", []),
    ],
)
def test_figures_of_a_text(text, found):
    assert [said for said, _, _ in figures(text)] == found


def chapter(text: str, source: str = "x = 1", printed: str = "", title: str = "Q3 · Why?") -> Notebook:
    outputs = [new_output("stream", name="stdout", text=printed)] if printed else []
    cells = [
        new_markdown_cell("# 03 · Title"),
        new_code_cell("elsewhere = 0.75"),
        new_markdown_cell(f"## {title}\n\n{text}"),
        new_code_cell(source, outputs=outputs),
    ]
    return Notebook("03_x.ipynb", "notebooks", new_notebook(cells=cells))


@pytest.mark.parametrize(
    "nb",
    [
        chapter("It is −64.25.", printed="-64.25"),
        chapter("It is −64.25.", source="low = -64.25"),
        chapter("It is 0.26.", printed="⟦0.262⟧"),
        chapter("It is 26 %.", printed="0.262"),
        chapter("It is 74 %.", printed="0.262"),  # what is left of a quarter
        chapter("It takes 4 times as long.", printed="3.9"),
        chapter("It needs 1,234.5 kB.", printed="1234.5"),
        chapter("It is 0.75.", title="Cheat sheet"),  # sums up the whole chapter
        chapter("It is 1.96.", title="Exercises"),
        chapter("It is 1.96.", title="Sources"),
    ],
)
def test_figures_that_are_worked(nb):
    assert figures_worked(nb) == []


@pytest.mark.parametrize(
    "nb",
    [
        chapter("It is −63.25.", printed="-64.25"),
        chapter("It is 0.27.", printed="⟦0.262⟧"),
        chapter("It is 27 %.", printed="0.262"),
        chapter("It takes 5 times as long.", printed="3.9"),
        chapter("It is 0.75."),  # another section's
        chapter("It is 0.76.", title="Cheat sheet"),
    ],
)
def test_figures_that_are_typed(nb):
    assert len(figures_worked(nb)) == 1
