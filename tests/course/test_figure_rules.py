"""Figures in texts are found, and only those that nothing near them works out are complained about."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.course.figure_rules import NEAR, figures, figures_worked
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
        ("They ask for “at most 500 kB, 20 ms”.", []),
        ("In their table it is 71.2 % ([paper](https://example.org/a)).", []),
    ],
)
def test_figures_of_a_text(text, found):
    assert [figure.said for figure in figures(text)] == found


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
        chapter("It is 74 % less.", printed="0.262"),  # what is left of a quarter
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


@pytest.mark.parametrize(
    "text, found",
    [
        ("It gains three decibels a bit.", ["three decibels"]),
        ("two and a half times as long, by two points", ["two and a half times", "two points"]),
        ("a quarter of the bytes, half of its time", ["a quarter of the bytes", "half of its time"]),
        ("a 95 % interval, in 95 % of them", ["95 %"]),
        ("half a step, a quarter of an hour, twice, one point, two ways of five", []),
    ],
)
def test_figures_in_words(text, found):
    assert [figure.said for figure in figures(text)] == found


def claimed(sentence: str, **bound) -> dict:
    entry = {"kind": "claim", "id": "Q3-x", "sentence": sentence, "bound": bound, "measured": 6.02, "figure": "6.02"}
    return {"course": entry}


@pytest.mark.parametrize(
    "text, good",
    [
        ("It gains six decibels a bit.", True),
        ("It gains three decibels a bit.", False),
        ("A quarter of the bytes is left.", True),
        ("A third of the bytes is left.", False),
    ],
)
def test_words_come_from_claims(text, good):
    nb = chapter(text)
    for sentence, bound in (
        ("each bit buys about 6 dB", {"low": 5.8, "high": 6.3}),
        ("a quarter of them", {"below": 0.26}),
    ):
        nb.code[-1].outputs.append(new_output("display_data", metadata=claimed(sentence, **bound)))
    assert (figures_worked(nb) == []) == good


@pytest.mark.parametrize(
    "nb",
    [
        chapter("It keeps 26 %.", "x = 26"),  # a setting
        chapter("It takes 4 times as long.", "x = range(4)"),
        chapter("It is four times smaller.", printed="0.31"),
        chapter("It is 26 %.", printed="0.74"),  # of what is left the text says so
    ],
)
def test_settings_and_complements_work_nothing(nb):
    assert len(figures_worked(nb)) == 1


@pytest.mark.parametrize(
    "nb",
    [
        chapter("It keeps 26 %.", printed="26 % of them"),
        chapter("It is 26 % smaller.", printed="0.74"),
        chapter("It takes 4 times as long.", "y = 4 * x"),
        chapter("It is four times smaller.", printed="0.261"),
        chapter("A quarter of the bytes is left.", printed="26.1 %"),
        chapter("Do that 2,000 times.", "rounds = 2_000"),
        chapter("It has 1.7 MB.", printed="1727492"),
        chapter("It takes 3 ms.", "seconds = 0.003"),
        chapter("Files of 500 kB.", "limit = 500"),
    ],
)
def test_units_and_complements(nb):
    assert figures_worked(nb) == []


def test_a_cell_far_away_works_nothing():
    nb = chapter("It is 0.262.", printed="0.262")
    assert figures_worked(nb) == []
    nb.content.cells[3:3] = [new_code_cell("pass") for _ in range(NEAR)]
    assert len(figures_worked(Notebook(nb.name, nb.folder, nb.content))) == 1
