"""One chapter, executed as on another machine, says the same outside of brackets; the comparison itself can fail."""

from __future__ import annotations

import json

import nbformat
import numpy as np
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from benchmarks import _processor, elsewhere
from benchmarks.elsewhere import Outcome, Variant
from commands.parts import chapters
from commands.parts.errors import Problem
from tests.harness import daily
from tests.harness.needs import needs
from utils import ROOT, claims, recorded
from utils.optimize.quantization import grid, integer_kernels


def test_variants_really_differ_from_the_usual_settings():
    tried = {variant.name: elsewhere.settled(variant) for variant in elsewhere.variants()}
    usual = elsewhere.settled(Variant("usual", {}))
    assert tried["threads"]["TF_NUM_INTRAOP_THREADS"] == "2" != usual["TF_NUM_INTRAOP_THREADS"]
    assert tried["onednn"]["TF_ENABLE_ONEDNN_OPTS"] == "1" != usual["TF_ENABLE_ONEDNN_OPTS"]
    assert tried["seed 1"]["COURSE_FRESH"] == "1" != usual["COURSE_FRESH"]
    assert [variant.seed for variant in elsewhere.variants()] == [0, 0, 0, 0, 0, 0, 1, 2]
    moved = {tried[f"ulp {draw}"]["COURSE_NUDGE"] for draw in elsewhere.ULP_DRAWS}
    assert len(moved) == len(elsewhere.ULP_DRAWS) and usual["COURSE_NUDGE"] == "0" not in moved


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
ENTRY = {"id": "C00-seed", "sentence": "the seed is a small number", "figure": "0", "bound": {"below": 2}}
SAID = [
    new_output("display_data", data={"text/plain": claims.claim_text(ENTRY), "text/html": claims.claim_html(ENTRY)}),
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


def test_a_variant_of_another_day_stays_beside_the_new_one_until_the_code_changes(monkeypatch, tmp_path):
    name = chapters.shown(chapters.find_notebooks(["00"])[0])
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    for variant, held in (("numpy", 3), ("threads", 3), ("numpy", 4)):
        elsewhere.record([Outcome(name, variant, held, (), (), 1.0)])
    rows = recorded.load("elsewhere-00").rows
    assert [(row["variant"], row["claims held"]) for row in rows] == [("numpy", 4), ("threads", 3)]
    monkeypatch.setattr(recorded, "changes", lambda name: ["another cell"])
    elsewhere.record([Outcome(name, "ulp 14", 3, (), (), 1.0)])
    assert [row["variant"] for row in recorded.load("elsewhere-00").rows] == ["ulp 14"]


def test_an_unknown_variant_is_answered_with_those_there_are():
    with pytest.raises(SystemExit, match="no variant cpu; there are threads, onednn, numpy, ulp, seed, processor"):
        elsewhere.main(["03", "--variants", "cpu"])


def test_without_qemu_the_processors_are_left_out_aloud_or_demanded(monkeypatch, capsys):
    options = elsewhere.parser().parse_args(["03"])
    monkeypatch.setattr(_processor, "emulator", lambda: None)
    monkeypatch.delenv("COURSE_REQUIRE_ALL", raising=False)
    assert not elsewhere.emulation_wanted(options)
    assert "left out: processor" in capsys.readouterr().err
    monkeypatch.setenv("COURSE_REQUIRE_ALL", "1")
    for demanded in (options, elsewhere.parser().parse_args(["03", "--variants", "processor"])):
        with pytest.raises(Problem, match="apt install qemu-user"):
            elsewhere.emulation_wanted(demanded)
    assert not elsewhere.emulation_wanted(elsewhere.parser().parse_args(["03", "--variants", "ulp"]))


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    folder = tmp_path_factory.mktemp("cases")
    for chapter in _processor.CASES:
        _processor.export(folder, chapter, pictures=4)
    return folder


def test_what_is_replayed_is_equal_here_and_stands_for_claims(cases):
    known = {claim["id"] for claim in json.loads((ROOT / "data/results/claims.json").read_text("utf-8"))}
    found = dict(_processor.compared(cases))
    assert {case.split(",")[0] for case in found} <= known and len(found) == 4
    assert not any(count for tensors in found.values() for count in tensors.values())


def test_a_division_where_the_kernel_multiplies_is_found(cases, monkeypatch):
    def divided(x, *, symmetric):
        grids = [grid.choose(row) for row in x]
        rows = np.array([grid.quantize(row, g) for row, g in zip(x, grids, strict=True)])
        return rows, *(np.array([[getattr(g, name)] for g in grids]) for name in ("scale", "zero_point"))

    monkeypatch.setattr(integer_kernels, "quantize_rows", divided)
    found = dict(_processor.compared(cases))
    assert sum(found["Q23-by-hand, ties"].values()) > 0 == sum(found["Q3-bit-for-bit"].values())


@pytest.mark.parametrize("processor", _processor.PROCESSORS)
def test_computations_by_hand_are_the_kernels_on_other_processors(cases, processor):
    needs("qemu-user")
    found = _processor.replay(cases, processor)
    assert len(found) == 4
    assert not any(count for tensors in found.values() for count in tensors.values()), found


def test_a_replay_that_fails_says_why(tmp_path):
    needs("qemu-user")
    np.savez(tmp_path / "bad.npz", content=np.zeros(20, np.uint8), x=np.zeros(3))
    with pytest.raises(RuntimeError, match=r"replay on Nehalem ended with 1.*TFL3"):
        _processor.replay(tmp_path, "Nehalem")


def test_a_chapter_with_other_last_places():
    """One chapter a day, so that a week sees them all: none may claim what a moved last place changes."""
    paths = chapters.find_notebooks([])
    path = daily.todays(paths, len(paths))[0]
    variant = next(v for v in elsewhere.variants() if v.name == f"ulp {elsewhere.ULP_DRAWS[0]}")
    outcome = elsewhere.try_variant(path, variant)
    assert outcome.good, f"python course.py bench elsewhere {chapters.number(path)} --variants ulp: {outcome}"
    assert outcome.held > 0
