"""One chapter, executed as on another machine, says the same outside of brackets; the comparison itself can fail."""

from __future__ import annotations

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from benchmarks import elsewhere
from benchmarks.elsewhere import Outcome, Variant
from commands.parts import chapters


def test_variants_really_differ_from_the_usual_settings():
    tried = {variant.name: elsewhere.settled(variant) for variant in elsewhere.variants()}
    usual = elsewhere.settled(Variant("usual", {}))
    assert tried["threads"]["TF_NUM_INTRAOP_THREADS"] == "2" != usual["TF_NUM_INTRAOP_THREADS"]
    assert tried["onednn"]["TF_ENABLE_ONEDNN_OPTS"] == "1" != usual["TF_ENABLE_ONEDNN_OPTS"]
    assert tried["seed 1"]["COURSE_FRESH"] == "1" != usual["COURSE_FRESH"]
    assert [variant.seed for variant in elsewhere.variants()] == [0, 0, 0, 1, 2]


def test_numpy_takes_the_features_that_are_to_be_switched_off():
    import os
    import subprocess
    import sys

    code = "from numpy._core._multiarray_umath import __cpu_features__ as f; print(*(k for k, on in f.items() if on))"
    off = elsewhere.numpy_features()
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        text=True,
        capture_output=True,
        env=os.environ | {"NPY_DISABLE_CPU_FEATURES": off},
    )
    assert done.returncode == 0, done.stderr
    assert not set(off.split()) & set(done.stdout.split())


@pytest.mark.parametrize(
    "line, expected",
    [
        ("2026-11-24 I tensorflow/core/util/port.cc:153] oneDNN custom operations are on. You may see\n", True),
        ("WARNING: All log messages before absl::InitializeLog() is called are written to STDERR\n", True),
        ("UserWarning: something else\n", False),
    ],
)
def test_only_the_announcement_is_left_out(line, expected):
    assert elsewhere.is_announcement(line) is expected
    stream = new_output("stream", name="stderr", text=line)
    notebook = new_notebook(cells=[new_code_cell("x", outputs=[stream])])
    elsewhere.without_announcement(notebook)
    assert (notebook.cells[0].outputs == []) is expected


SEEDED = """import utils
from utils.claims import claim
claim("C00-seed", "the seed is a small number", measured=utils.SEED, below=2)
print("threads", utils.THREADS)"""
SAID = [
    new_output("display_data", data={"text/plain": "✔ C00-seed  the seed is a small number   ⟦0⟧"}),
    new_output("stream", name="stdout", text="threads 1\n"),
]


@pytest.fixture
def notebook(tmp_path, monkeypatch):
    path = tmp_path / "00_seed.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell(SEEDED, outputs=SAID, execution_count=1)]), path)
    monkeypatch.setattr(chapters, "shown", lambda path: path.name)
    return path


def test_brackets_may_differ(notebook):
    outcome = elsewhere.try_variant(notebook, Variant("seed 1", {}, seed=1))
    assert outcome.good and outcome.held == 1


def test_a_change_outside_of_brackets_and_a_failed_claim_are_found(notebook):
    outcome = elsewhere.try_variant(notebook, Variant("seed 2", {"COURSE_THREADS": "2"}, seed=2))
    assert outcome.failed == ("C00-seed: 2",) and outcome.held == 0
    assert len(outcome.different) == 1 and "threads 1" in outcome.different[0]


def test_the_report_names_what_failed(capsys):
    good = Outcome("a.ipynb", "threads", 3, (), (), 1.0)
    bad = Outcome("b.ipynb", "numpy", 1, ("Q3-x: 0.4",), ("code cell 2: -1 | +2",), 1.0)
    assert elsewhere.report([good]) is True
    assert elsewhere.report([good, bad]) is False
    text = capsys.readouterr().out
    assert "✘ Q3-x: 0.4" in text and "✘ code cell 2" in text and "1 of    2" in text


def test_one_chapter_on_another_machine():
    """The cheapest variant that changes floats: numpy without its vector kernels."""
    [path] = chapters.find(["03"])
    variant = next(v for v in elsewhere.variants() if v.name == "numpy")
    outcome = elsewhere.try_variant(path, variant)
    assert outcome.good, outcome
    assert outcome.held > 0
