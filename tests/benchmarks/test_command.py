"""A benchmark says in a sentence why it cannot go on, before it measures."""

from __future__ import annotations

import pytest

from benchmarks import (
    _command,
    clustering,
    measuring,
    networks,
    pruning,
    pruning_causes,
    quantization,
    quantization_aware,
    quantization_aware_causes,
    sparsity,
    tflite,
    toolkit,
    weights,
)
from utils import recorded

BENCHMARKS = [
    clustering, measuring, networks, pruning, pruning_causes, quantization, quantization_aware,
    quantization_aware_causes, sparsity, tflite, toolkit, weights,
]  # fmt: skip


@pytest.mark.parametrize("error", [PermissionError(13, "no permission", "x"), recorded.RecordRefused("other code")])
def test_files_and_records_are_answered_without_a_trace(error):
    def main():
        raise error

    with pytest.raises(SystemExit, match=r"✘ .*(no permission|other code)"):
        _command.start(main)


def test_a_mistake_of_ours_keeps_its_trace_and_a_code_is_handed_on():
    with pytest.raises(ZeroDivisionError):
        _command.start(lambda: 1 // 0)
    with pytest.raises(SystemExit) as ended:
        _command.start(lambda: 3)
    assert ended.value.code == 3


@pytest.fixture
def saved(monkeypatch):
    """What `recorded.save` is given, in place of a file: {name: (rows, how)}."""
    kept = {}
    monkeypatch.setattr(recorded, "check_writable", lambda name: None)
    monkeypatch.setattr(recorded, "save", lambda name, rows, **how: kept.update({name: (rows, how)}))
    return kept


def measured(*arguments, monkeypatch, tiny=None):
    def first(count=3):
        return [{"count": count}]

    def second():
        return []

    monkeypatch.setattr("sys.argv", ["bench", *arguments])
    parts, seeds = {"first": first, "second": second}, {"first": [0, 1], "second": [0]}
    _command.measure_parts("about", "made", parts, command="bench made", seeds=seeds, notes="none", tiny=tiny)


def test_all_parts_are_recorded_or_those_that_are_named(saved, monkeypatch):
    measured(monkeypatch=monkeypatch)
    assert list(saved) == ["made_first", "made_second"] and saved["made_first"][1]["seeds"] == [0, 1]
    saved.clear()
    measured("second", monkeypatch=monkeypatch)
    assert list(saved) == ["made_second"] and saved["made_second"][1]["command"] == "bench made second"
    assert saved["made_second"][1]["partial"] == "" and saved["made_second"][1]["seeds"] == [0]


def test_tiny_is_marked_as_partial_and_an_unknown_part_refused(saved, monkeypatch, capsys):
    measured("first", "--tiny", monkeypatch=monkeypatch, tiny={"first": {"count": 1}})
    assert saved["made_first"][0] == [{"count": 1}] and "--tiny" in saved["made_first"][1]["partial"]
    for wrong in (["third"], ["first", "--tiny"]):  # no tiny settings: no such option
        with pytest.raises(SystemExit):
            measured(*wrong, monkeypatch=monkeypatch)
    assert "there is no part 'third'" in capsys.readouterr().err


@pytest.mark.parametrize("benchmark", BENCHMARKS, ids=lambda module: module.__name__.rpartition(".")[2])
def test_a_read_only_clone_is_noticed_before_measuring(benchmark, monkeypatch):
    def read_only(folder):
        raise OSError(30, "this file system is read-only", str(folder))

    def measured(*_, **__):
        raise AssertionError("it measured")

    monkeypatch.setattr(recorded.files, "check_writable", read_only)
    monkeypatch.setattr("sys.argv", ["bench"])
    for name in ("train", "measured", "measured_layers", "measured_below", "hits"):
        if hasattr(benchmark, name):
            monkeypatch.setattr(benchmark, name, measured)
    if hasattr(benchmark, "data"):
        monkeypatch.setattr(benchmark.data, "load", lambda name: name)
    with pytest.raises(OSError, match="read-only"):
        benchmark.main()


def test_tables_of_toolkit_are_not_mixed_from_two_codes(monkeypatch):
    monkeypatch.setattr(
        recorded, "changes", lambda name: ["utils.optimize.toolkit.layer_table:layer_support has changed"]
    )
    with pytest.raises(recorded.RecordRefused, match=r"layer_support has changed\): measure all"):
        toolkit.record_layers(["Dense"])
