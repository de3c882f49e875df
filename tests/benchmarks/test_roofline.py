"""The benchmark of single layers: a roof from their rows, and what it predicts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import roofline as bench
from tests import little
from utils import data, recorded
from utils.measure import roofline


def rows(matrix: float = 10.0, stream: float = 2.0) -> list[dict]:
    """Rows as the record has them: int8 twice as fast as float32."""
    made = []
    for size, name in enumerate(dict.fromkeys([*bench.PEAKS.values(), *bench.STREAMS]), 1):
        made.append({"layer": name, "float32 bytes": 1000 * size, "float32 GB/s": stream / size})
        made[-1] |= {"float32 GMAC/s": matrix, "int8 GMAC/s": 2 * matrix}
    return made


def test_the_roof_has_the_peaks_of_both_types_and_the_rate_of_each_size():
    roof = bench.roof_of(rows())
    assert set(roof.macs_per_second) == {f"{m} {k}" for m in bench.MODES for k in ("matrix", "depthwise", "vector")}
    assert roof.macs_per_second["int8 matrix"] == 2 * roof.macs_per_second["float32 matrix"] == 20e9
    assert len(roof.bytes_per_second) == len(bench.STREAMS)


def test_the_layers_are_those_that_the_roof_needs():
    """Each is of the kind that it stands for."""
    little.keras()
    made = bench.shapes()
    assert {*bench.PEAKS.values(), *bench.STREAMS} <= set(made)
    for kind, name in bench.PEAKS.items():
        [work] = [w for w in roofline.of_file(bench.files_of(*made[name])["int8"].content) if w.macs]
        assert work.rate == f"int8 {kind}"


def test_a_row_has_the_work_and_the_times_of_both_files():
    k = little.keras()
    row = bench.layer_row("small", bench.files_of((6, 6, 2), k.layers.Conv2D(3, 3)), rounds=4)
    assert row["MMAC"] == round(4 * 4 * 3 * 3 * 3 * 2 / 1e6, 3)
    assert row["float32 bytes"] > 2 * row["int8 bytes"] and row["processor"] == recorded.processor()
    assert row["ratio low"] <= row["ratio"] <= row["ratio high"]


def test_a_network_below_the_roof(monkeypatch):
    x, y = little.examples(24), np.arange(24) % 4
    small = data.Dataset("own", x, y, x, y, x, y, tuple("abcd"))
    monkeypatch.setattr(bench.data, "load", lambda _: small)
    monkeypatch.setattr(bench.networks, "SAMPLES", 8)
    monkeypatch.setattr(bench.training, "trained", lambda *_, **__: little.classifier())
    row = bench.network_row("mlp", "own", bench.roof_of(rows(matrix=1e9)))  # all wait for memory
    assert row["float32 waits %"] == row["int8 waits %"] == 100
    assert row["ratio"] == pytest.approx(row["int8 µs"] / row["float32 µs"], abs=0.001)
    assert bench.network_row("mlp", "own", bench.roof_of(rows(matrix=1e-9)))["ratio"] == pytest.approx(0.5, abs=0.01)
