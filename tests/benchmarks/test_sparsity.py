"""Small versions of what chapter 07 records: the layers, the variants, and how a run is read."""

import json
import subprocess

import numpy as np
import pytest
import tf_keras

from benchmarks import _sparsity_run, sparsity
from utils import recorded
from utils.optimize.sparsity import samples


def test_rows_of_one_small_layer():
    rows = sparsity.measured_kernels(shares=(0.9,), batches=(1,), units=64, rounds=3)
    skips = {row["pattern"]: row["skips"] for row in rows}
    assert skips == {"float32 single": False, "float32 (1, 4)": False, "float32 (4, 1)": True, "int8 (16, 1)": True}
    assert all(row["µs"] > 0 and row["ratio low"] <= row["ratio"] <= row["ratio high"] for row in rows)


def test_memory_of_three_small_files():
    rows = sparsity.measured_memory(units=64)
    assert len(rows) == 3 and all(row["memory MiB"] >= 0 and row["bytes"] > 0 for row in rows)


def test_a_pair_of_files_is_compared():
    layer = tf_keras.layers.Dense(1, use_bias=False, kernel_initializer="ones")
    model = tf_keras.Sequential([tf_keras.Input((8,)), layer])
    files = dict.fromkeys(_sparsity_run.SIDES, samples.as_file(model, sparse=False))
    assert _sparsity_run.pair(files, 1)["off"] == 0
    layer.set_weights([np.full((8, 1), 0.75)])
    found = _sparsity_run.pair(files | {"sparse": samples.as_file(model, sparse=False)}, 3)
    assert found["off"] == pytest.approx(0.25)
    assert {len(seconds) for seconds in found["seconds"].values()} == {3}


def test_a_run_that_fails_says_what_it_said(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "no such processor")
    monkeypatch.setattr(sparsity.subprocess, "run", lambda *a, **k: failed)
    with pytest.raises(RuntimeError, match="no such processor"):
        sparsity._run("folder", ["qemu-x86_64"], 2)


def test_without_an_emulator_only_this_processor(monkeypatch, capsys):
    part = {"seconds": {"plain": [2.0], "sparse": [1.0]}, "off": 0.25}
    answer = json.dumps(dict.fromkeys(samples.VARIANTS, part))
    monkeypatch.setattr(sparsity.shutil, "which", lambda name: None)
    monkeypatch.setattr(samples, "network", lambda **changes: None)
    monkeypatch.setattr(samples, "as_file", lambda model, sparse: b"")
    monkeypatch.setattr(
        sparsity.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess([], 0, f"INFO\n{answer}\n", "")
    )
    rows = sparsity.measured_xnnpack()
    assert [row["network"] for row in rows] == list(samples.VARIANTS)
    assert {row["processor"] for row in rows} == {recorded.processor()}
    assert all(row["ratio"] == 0.5 and row["differ"] and row["off %"] == 25 for row in rows)
    assert "apt install qemu-user" in capsys.readouterr().out


def test_a_read_only_clone_is_noticed_before_measuring(monkeypatch):
    def read_only(folder):
        raise OSError(30, "this file system is read-only", str(folder))

    monkeypatch.setattr(recorded.files, "check_writable", read_only)
    with pytest.raises(OSError, match="read-only"):
        sparsity.main(["--only", "kernels"])


def test_openings_of_small_files():
    rows = sparsity.measured_openings(units=64, openings=2, rounds=3)
    assert {row["order"] for row in rows} == {"forwards", "backwards"} and len(rows) == 16
    for row in rows:
        assert len(row["ratios"]) == 2 and 0 < row["least"] <= row["most"]
        assert row["apart"] == pytest.approx(row["most"] / row["least"], rel=0.01)
    dense = [row["ratios"] for row in rows if row["file"] == "float32 dense"]
    assert np.mean(dense, axis=1) == pytest.approx(1, abs=0.01)  # the yardstick is the mean of its own openings
