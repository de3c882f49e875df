"""A chapter, its solutions and an interview answer that break no rule: tests of the rules damage copies of them."""

from __future__ import annotations

from collections.abc import Callable
from unittest import mock

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from commands.parts.normalize import normalize
from tests.course.notebooks import Notebook
from utils import claims
from utils.study import questions

SENTENCE = "eight bits need less than 30 % of the bytes"
_ROWS = [{"format": "float32", "accuracy": 0.9123}, {"format": "int8", "accuracy": 0.9087}]


def outputs(statement: Callable[[], None]) -> list[nbformat.NotebookNode]:
    """The outputs that a claim or a table leaves in a notebook, made by the real code."""
    made = []

    def keep(plain, rich, entry):
        data = {"text/plain": plain, "text/html": rich}
        made.append(new_output("display_data", data=data, metadata={"course": entry}))

    with mock.patch.object(claims, "_display", keep), mock.patch.object(claims, "_sentences", {}):
        statement()
    return made


def _claim(id: str) -> nbformat.NotebookNode:
    return new_code_cell(
        f'claim("{id}", "{SENTENCE}",\n      measured=size, below=0.3)',
        outputs=outputs(lambda: claims.claim(id, SENTENCE, measured=0.2512, below=0.3)),
    )


def _check(id: str, answer: str, verdict: str) -> list[nbformat.NotebookNode]:
    return [
        new_markdown_cell(f"**Exercise {id}.** Write it."),
        new_code_cell(f"def answer(x):\n    {answer}"),
        new_code_cell(
            f'check("{id}", answer)', outputs=[new_output("stream", name="stdout", text=f"{verdict} {id}  so\n")]
        ),
    ]


def _picture() -> nbformat.NotebookNode:
    alt = "Error over bits: it falls with every bit of the grid"
    return new_code_cell(
        'axes.plot(bits, error)\naxes.set(xlabel="bits of the grid", ylabel="error")\nplots.show(fig, alt=alt)',
        outputs=[
            new_output(
                "display_data",
                data={"image/png": "aGk=", "text/plain": f"Figure: {alt}"},
                metadata={"image/png": {"alt": alt, "title": "Six decibels for a bit", "says": ["falls"]}},
            )
        ],
    )


def _drawing() -> nbformat.NotebookNode:
    alt = "A float goes through a scale and becomes an integer"
    return new_code_cell(
        "with drawings.canvas(height=80, alt=alt) as d:\n    d.box(60, 40, 'float32')",
        outputs=[
            new_output(
                "display_data",
                data={"image/png": "aGk=", "text/plain": f"Figure: {alt}"},
                metadata={"image/png": {"alt": alt, "drawing": True}},
            )
        ],
    )


def finish(cells: list[nbformat.NotebookNode], folder: str, name: str = "03_example.ipynb") -> Notebook:
    """Count and normalize, as `course.py run` does."""
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    return Notebook(name, folder, normalize(new_notebook(cells=cells)))


def chapter() -> Notebook:
    """Chapter 03 in little."""
    minutes = questions.CHAPTERS["03"].minutes
    cells = [
        new_markdown_cell(
            "# 03 · Quantization\n\n> My int8 model is four times smaller, as promised. But why does it now "
            "say nonsense for every picture that I give it?"
        ),
        new_markdown_cell("## What you will be able to do\n\n- find a scale\n- round a weight\n- bound an error"),
        new_markdown_cell(
            f"## What you need first\n\nPython, NumPy, and chapter 00. About {minutes} minutes. The core is Q3."
        ),
        new_code_cell("import utils\nfrom utils import plots\nfrom utils.claims import claim, show"),
    ]
    for n in questions.CHAPTERS["03"].questions:
        cells += [new_markdown_cell(f"## {questions.heading(n)}\n\nFirst guess, then run."), _claim(f"Q{n}-bytes")]
    table = outputs(lambda: claims.show(_ROWS, {"accuracy": (0.8, 1)}))
    cells += [
        new_markdown_cell("A table."),
        new_code_cell("show(rows, {'accuracy': (0.8, 1)})", outputs=table),
        new_markdown_cell("A picture: see how the error falls."),
        _picture(),
        _drawing(),
        new_markdown_cell("The public calls. In this way about 25 % is left."),
        new_code_cell("import json\nratio = 8 / 32\nassert ratio == 0.25", metadata={"tags": ["standalone"]}),
    ]
    for k in (1, 2, 3):
        cells += _check(f"03-{k}", "...", "○")
    cells += [
        new_markdown_cell("## Quiz"),
        new_code_cell('quiz.show("03")'),
        new_markdown_cell("## Cheat sheet\n\n" + "A scale maps an integer to a real number. " * 6),
        new_markdown_cell("## Sources\n\n* [one](https://example.org/a)\n* [two](https://example.org/b)"),
    ]
    return finish(cells, "notebooks")


def solutions() -> Notebook:
    """The answers to its exercises."""
    cells = [new_markdown_cell("# Solutions"), new_code_cell("import utils")]
    for k in (1, 2, 3):
        cells += _check(f"03-{k}", "return x", "✔")
    return finish(cells, "solutions")


def answer() -> str:
    """An interview answer to question 3."""
    return f"""---
id: Q3
question: {questions.texts()[3]}
level: basic
chapter: "03"
claims: [Q3-bytes]
sources:
- https://example.org/paper
---

## Thirty seconds

{"Quantization stores a weight as a small integer and a scale. " * 5}It took <!--Q3-bytes-->25.1 %<!--/--> of the bytes.

## Three minutes

{"Rounding to a grid of 256 values costs an error of half a step at most, and saves three bytes in four. " * 14}

## What they ask next

- Why is zero exact?
- Why per channel?

## Red flags

- It makes every model faster.
- The zero point is a float.

## Rubric

- 0: nothing
- 1: fewer bits
- 2: scale and zero point
- 3: error and ranges
- 4: measured it
"""
