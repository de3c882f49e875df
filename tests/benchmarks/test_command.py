"""A benchmark says in a sentence why it cannot go on, before it measures."""

from __future__ import annotations

import pytest

from benchmarks import (
    _command,
    measuring,
    networks,
    quantization,
    quantization_aware,
    quantization_aware_causes,
    tflite,
    toolkit,
    weights,
)
from utils import recorded

BENCHMARKS = [
    measuring, networks, quantization, quantization_aware, quantization_aware_causes, tflite, toolkit, weights,
]  # fmt: skip


@pytest.mark.parametrize("error", [PermissionError(13, "no permission", "x"), recorded.Refused("other code")])
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
    with pytest.raises(recorded.Refused, match=r"layer_support has changed\): measure all"):
        toolkit.record_layers(["Dense"])
