"""The benchmark of single layers: a roof from their rows, and what it predicts."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks import roofline as bench
from tests import little
from utils import data, recorded
from utils.measure import roofline


def rows(matrix: float = 10.0, stream: float = 2.0) -> list[dict]:
    """Rows as the record has them, two of each kind: int8 twice as fast as float32, each row slower."""
    made = []
    for size, name in enumerate([f"{word}, {part}" for word in bench.KINDS.values() for part in "ab"], 1):
        made.append({"layer": name, "float32 bytes": 1000 * size, "float32 GB/s": stream / size})
        made[-1] |= {"float32 GMAC/s": matrix / size, "int8 GMAC/s": 2 * matrix / size}
    return made


def test_the_roof_has_the_best_rates_of_both_types_and_the_rate_of_each_size():
    roof = bench.roof_of(rows())
    assert set(roof.macs_per_second) == {f"{m} {k}" for m in bench.MODES for k in bench.KINDS}
    assert roof.macs_per_second["int8 matrix"] == 2 * roof.macs_per_second["float32 matrix"] == 20e9
    assert roof.macs_per_second["float32 vector"] == pytest.approx(10e9 / 5)
    assert roof.bytes_per_second == pytest.approx({5000: 2e9 / 5, 6000: 2e9 / 6})


def test_the_layers_are_of_the_kinds_that_their_names_say():
    little.keras()
    for name, parts in list(bench.shapes().items())[:-2]:  # the last ones are large
        [kind] = [kind for kind, word in bench.KINDS.items() if word in name]
        [work] = [w for w in roofline.of_file(bench.files_of(*parts)["int8"].content) if w.macs]
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


def test_rows_of_another_processor_stay_beside_the_new_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    monkeypatch.setattr(recorded, "digests", lambda named: dict.fromkeys(named, "1"))
    monkeypatch.setattr(recorded, "_named", lambda function: function.__name__)
    made = {"processor": "A", "ratio": 1}
    monkeypatch.setattr(bench, "network_row", lambda n, d, _: made | {"network": n, "data": d})
    for cpu in "AB":
        monkeypatch.setattr(recorded, "processor", lambda cpu=cpu: cpu)
        layers = [row | {"processor": cpu} for row in rows()]
        monkeypatch.setattr(bench, "measured_layers", lambda layers=layers: layers)
        assert bench.main([]) == 0
    assert [row["processor"] for row in recorded.load("layers").rows] == ["A"] * 6 + ["B"] * 6
    assert len(recorded.load("roofline").rows) == len(bench.networks.NETWORKS)
