"""Benchmarks are listed, run, and refused before the work."""

from __future__ import annotations

import argparse

import pytest

from commands import bench
from commands.parts import environment
from commands.parts.errors import Problem


def given(*words: str) -> argparse.Namespace:
    return argparse.Namespace(rest=list(words))


@pytest.fixture
def benchmarks(tmp_path, monkeypatch):
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/mutants.py").write_text('"""Plant defects.\n\nMore."""\nprint("ran")', encoding="utf-8")
    (tmp_path / "benchmarks/_shared.py").write_text("", encoding="utf-8")
    monkeypatch.setattr(environment, "ROOT", tmp_path)
    return tmp_path


def test_bench_lists_first_lines_and_knows_near_names(benchmarks):
    assert bench.listing(bench.benchmarks()) == "  mutants  Plant defects."
    with pytest.raises(Problem, match="Did you mean mutants"):
        bench.main(given("mutant"))


def test_a_failing_benchmark_is_named(benchmarks, capfd):
    (benchmarks / "benchmarks/bad.py").write_text("import sys; print(sys.argv[1:]); sys.exit(3)", encoding="utf-8")
    with pytest.raises(Problem, match="bad ended with code 3"):
        bench.main(given("bad", "--quick"))
    assert "['--quick']" in capfd.readouterr().out


def test_a_benchmark_whose_result_cannot_be_stored_does_not_start(benchmarks, capfd):
    (benchmarks / "data").write_text("no folder", encoding="utf-8")
    with pytest.raises(Problem, match="not started, because its result could not be stored"):
        bench.main(given("mutants"))
    assert bench.main(given("mutants", "--help")) == 0
    assert capfd.readouterr().out == "ran\n", "only for --help"
