"""Small versions of what chapter 07 records: the layers, the variants, and how a run is read."""

import json
import subprocess

import pytest

from benchmarks import _sparsity_run, sparsity
from utils import recorded
from utils.optimize.sparsity import samples


def test_rows_of_one_small_layer():
    rows = sparsity.measured_kernels(shares=(0.9,), batches=(1,), units=64, rounds=3, loads=2)
    assert {row["pattern"]: row["skips"] for row in rows} == {
        "int8": False,
        "float32 single": False,
        "float32 single, no DENSIFY": True,
        "float32 (1, 4)": False,
        "float32 (4, 1)": True,
        "int8 (16, 1)": True,
    }
    assert all(row["µs"] > 0 and row["ratio low"] <= row["ratio"] <= row["ratio high"] for row in rows)


def test_the_interval_is_over_loads():
    def load(plain, sparse):
        return {"pair": {"seconds": {"plain": [plain] * 3, "sparse": [sparse] * 3}}}

    times = sparsity._times([load(2e-6, 1e-6), load(4e-6, 1e-6)])
    half = sparsity.T_95 * 0.125  # ratios of 0.5 and 0.25: their mean's standard error
    assert times["dense µs"] == 3 and times["µs"] == 1 and times["ratio"] == 0.375
    assert times["ratio high"] == pytest.approx(0.375 + half, abs=0.001)
    assert times["ratio low"] == pytest.approx(0.375 - half, abs=0.001)


def test_only_what_runs_between_changes(tmp_path):
    cases = sparsity.between_files(tmp_path, units=64, others=3)
    runs = [sparsity._run(case["folder"], [], 3, case["repeats"]) for case in cases]
    assert [len(run["pair"]["seconds"]) for run in runs] == [2, 2, 5]
    assert [case["repeats"] for case in cases] == [sparsity.REPEATS, 1, 1]
    rows = [sparsity.between_row(case, [run, run]) for case, run in zip(cases, runs, strict=True)]
    assert [row["before each call"] for row in rows] == ["itself", "the other file", "3 more files"]


def test_a_pair_of_files_is_compared():
    model = samples.network(size=16, width=8)
    files = {side: samples.convert(model, sparse=side == "sparse") for side in _sparsity_run.SIDES}
    found = _sparsity_run.pair(files, 3)
    assert found["difference"] < 1e-5
    assert {len(seconds) for seconds in found["seconds"].values()} == {3}


def test_a_run_that_fails_says_what_it_said(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no such processor")
    monkeypatch.setattr(sparsity.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(RuntimeError, match="no such processor"):
        sparsity._run("folder", ["qemu-x86_64"], 2)


def test_without_an_emulator_only_this_processor(monkeypatch, capsys):
    part = {"seconds": {"plain": [2.0], "sparse": [1.0]}, "difference": 0.0}
    answer = json.dumps(dict.fromkeys(samples.VARIANTS, part))
    monkeypatch.setattr(sparsity.shutil, "which", lambda name: None)
    monkeypatch.setattr(samples, "network", lambda **changes: None)
    monkeypatch.setattr(samples, "convert", lambda model, sparse: b"")
    monkeypatch.setattr(
        sparsity.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess([], 0, f"INFO\n{answer}\n", "")
    )
    rows = sparsity.measured_xnnpack()
    assert [row["network"] for row in rows] == list(samples.VARIANTS)
    assert {row["processor"] for row in rows} == {recorded.processor()}
    assert not any(row["differ"] for row in rows)
    assert "apt install qemu-user" in capsys.readouterr().out


def test_a_read_only_clone_is_noticed_before_measuring(monkeypatch):
    def read_only(folder):
        raise OSError(30, "this file system is read-only", str(folder))

    monkeypatch.setattr(recorded.files, "check_writable", read_only)
    with pytest.raises(OSError, match="read-only"):
        sparsity.main(["--only", "kernels"])
