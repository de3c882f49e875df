"""PLACEHOLDER 06: what the tests of the benchmark show, in one line."""

import pytest

from benchmarks import pruning
from utils import recorded


def test_rows_are_what_is_measured():
    assert [row["levels"] for row in pruning.measured()] == [256, 16]  # PLACEHOLDER 06


def test_what_is_measured_is_stored(tmp_path, monkeypatch):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    assert pruning.main([]) == 0
    assert recorded.load(pruning.NAME).rows == pruning.measured()


def test_a_read_only_clone_is_noticed_before_measuring(monkeypatch):
    def read_only(folder):
        raise OSError(30, "this file system is read-only", str(folder))

    monkeypatch.setattr(recorded.files, "check_writable", read_only)
    monkeypatch.setattr(pruning, "measured", lambda: pytest.fail("it measured"))
    with pytest.raises(OSError, match="read-only"):
        pruning.main([])
