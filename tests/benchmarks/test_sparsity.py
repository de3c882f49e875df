"""PLACEHOLDER 07: what the tests of the benchmark show, in one line."""

import pytest

from benchmarks import sparsity
from utils import recorded


def test_rows_are_what_is_measured():
    assert [row["levels"] for row in sparsity.measured()] == [256, 16]  # PLACEHOLDER 07


def test_what_is_measured_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    assert sparsity.main([]) == 0
    assert recorded.load(sparsity.NAME).rows == sparsity.measured()


def test_a_read_only_clone_is_noticed_before_measuring(monkeypatch):
    def read_only(folder):
        raise OSError(30, "this file system is read-only", str(folder))

    monkeypatch.setattr(recorded.files, "check_writable", read_only)
    monkeypatch.setattr(sparsity, "measured", lambda: pytest.fail("it measured"))
    with pytest.raises(OSError, match="read-only"):
        sparsity.main([])
