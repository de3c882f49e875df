"""A formula whose sign was changed is noticed; one that a cell computes is not complained about."""

from __future__ import annotations

import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from tests.course.formula_rules import formulas_worked, of_code, of_formula
from tests.course.notebooks import Notebook


def chapter(text: str, source: str, shown: str = "") -> Notebook:
    outputs = [new_output("display_data", data={"text/plain": shown})] if shown else []
    cells = [new_markdown_cell(f"# 03 · Title\n\n{text}"), new_code_cell(source, outputs=outputs)]
    return Notebook("03_x.ipynb", "notebooks", new_notebook(cells=cells))


WORKED = [
    (r"$$\text{real} = \text{scale} \cdot (q - \text{zero point})$$", "real = scale * (q - zero)", "q + zero"),
    (r"$(q_x - z_x)\,w_i$", "(q.astype(int) - z_x) * weight", "q + z"),
    (r"$\hat x = s\,(\operatorname{round}(x/s) - z)$", "(np.round(x / s) - z) * s", "(np.round(x / s) + z) * s"),
    (r"$y = \sum x\,w + b$", "total = x @ w + bias", "x @ w - bias"),
    (r"$\frac{p(1-p)}{n} + \frac{z^2}{4n^2}$", "p * (1 - p) / n + z**2 / (4 * n**2)", "p * (1 - p) / n - z**2"),
    (r"$q_x q_w - z_w q_x + k$", "k + q * w - z * x", "k - q * w - z * x"),
    (r"$\left(a \cdot b\right) - c$", "a * b - c", "a - b"),
]  # fmt: skip


@pytest.mark.parametrize("formula, source, other", WORKED)
def test_what_a_cell_computes_may_stand_as_a_formula(formula, source, other):
    assert formulas_worked(chapter(formula, source)) == []
    assert formulas_worked(chapter(formula, "x = 1", shown=source)) == []  # a function that the page shows
    assert formulas_worked(chapter(formula, other)) != []
    assert formulas_worked(chapter(f"As in [a paper](https://example.org), {formula}", other)) == []


@pytest.mark.parametrize("formula, source, _", WORKED)
def test_another_sign_is_noticed(formula, source, _):
    for place, sign in enumerate(formula):
        if sign in "+-":
            changed = formula[:place] + {"+": "-", "-": "+"}[sign] + formula[place + 1 :]
            assert formulas_worked(chapter(changed, source)), changed


@pytest.mark.parametrize(
    "formula",
    [
        r"2^{31} - 1",
        r"M \approx m \cdot 2^{\text{shift}-31}",
        r"\{-128, \dots, 127\}",
        "[-6, 6]",
        "z = 1.96",
        r"\text{multiply-accumulates}",
    ],
)
def test_formulas_without_sums_of_letters(formula):
    assert of_formula(formula) == []


def test_what_is_no_code_has_no_sums():
    assert of_code("so it is: a −") == [] and of_code("f'{x}'") == []
