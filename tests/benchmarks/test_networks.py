"""benchmarks/networks.py: the rows of a small untrained network, and what becomes of rows that are there."""

from __future__ import annotations

import json

import numpy as np
import pytest
import tensorflow as tf

from benchmarks import networks as bench
from utils import models, recorded
from utils.artifact import Artifact
from utils.deploy.tflite.session import KERNELS

X = np.random.default_rng(0).random((40, 6, 6, 1), np.float32)
MODES = ("float32", "int8", bench.INT32_BIAS, "dynamic_int4")


@pytest.fixture(scope="module")
def files():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.lite.TFLiteConverter, "from_keras_model", from_function)
        made = bench.files_of(models.mlp((6, 6, 1), 4, seed=0, hidden=(16,)), X[:10], MODES)
    return made | {"int16x8": "cannot be run"}


def from_function(model):
    """The same converter, without importing Keras 3 to ask whether the model is one, which takes 10 s of 13 s."""
    function = tf.function(model).get_concrete_function(tf.TensorSpec((1, 6, 6, 1)))
    return tf.lite.TFLiteConverter.from_concrete_functions([function], model)


def test_a_file_for_each_mode(files):
    good = {mode: file for mode, file in files.items() if isinstance(file, Artifact)}
    assert set(good) == set(MODES)
    assert good["int8"].runner.inputs[0].dtype == np.int8
    biases = {t.dtype for t in good[bench.INT32_BIAS].runner.file.tensors[0] if t.constant and len(t.shape) == 1}
    assert "int32" in biases and "int64" not in biases
    assert good["dynamic_int4"].size < good["float32"].size


def test_a_file_that_ends_the_process_is_said_and_the_others_are_made(files, monkeypatch):
    def refused(mode, model, whole, samples):
        raise bench.ArtifactError("its run ends the process")

    monkeypatch.setattr(bench, "file_of", refused)
    monkeypatch.setattr(bench, "convert", lambda model, mode: files[mode])
    made = bench.files_of(None, X[:10], ("float32", "int8"))
    assert isinstance(made["float32"], Artifact) and made["int8"] == "cannot be run"


def test_a_row_for_each_mode_and_kernels(files):
    rows = bench.rows_of("mlp", "fashion_mnist", files, "a processor")
    assert len({tuple(row[c] for c in bench.KEY) for row in rows}) == len(rows) == len(files) * len(KERNELS)
    assert {row["mode"] for row in rows if row["runs"] != "yes"} == {"int16x8"}
    assert all((row["bytes"] is None) == (row["runs"] != "yes") for row in rows)


def test_accuracy_and_what_was_lost_picture_by_picture(files):
    opened = bench.opened(files, "reference")
    labels = opened["float32"].run(X).argmax(axis=1)
    found = bench.accuracies(opened, X, labels, 30)
    assert found["float32"] | {"accuracy % low": 0} == {
        "pictures": 30, "accuracy %": 100.0, "accuracy % low": 0, "accuracy % high": 100.0,
        "lost points": 0.0, "lost points low": 0.0, "lost points high": 0.0,
    }  # fmt: skip
    for figures in found.values():
        assert figures["accuracy %"] + figures["lost points"] == pytest.approx(100)
        assert figures["lost points low"] <= figures["lost points"] <= figures["lost points high"]


def test_slow_modes_get_fewer_pictures(files, monkeypatch):
    monkeypatch.setattr(bench, "SLOW", {"int8": 5})
    found = bench.accuracies(bench.opened(files, "default"), X, np.zeros(40, int), 30)
    assert {mode: figures["pictures"] for mode, figures in found.items()} == dict.fromkeys(MODES, 30) | {"int8": 5}


def test_a_loss_is_positive_and_a_gain_negative():
    right, half = np.ones(10, bool), np.arange(10) % 2 == 0
    assert bench.accuracy_of(half, right)["lost points"] == 50
    assert bench.accuracy_of(right, half)["lost points"] == -50


def test_times_are_those_of_the_clock_and_ratios_of_the_same_rounds(files, monkeypatch):
    """With a clock by hand: float32 takes 2 s, int8 1 s, the anchor 4 s."""
    opened = {mode: model for mode, model in bench.opened(files, "default").items() if mode in ("float32", "int8")}
    seconds = {"float32": 2.0, "int8": 1.0, "anchor": 4.0}

    def latency(sides, **_):
        one = [bench.timing.Timing(name, np.full(5, seconds[name]) * [1, 1, 1, 1, 2], 1, None, 0.0) for name in sides]
        return bench.timing.Timings((each.name, each) for each in one)

    monkeypatch.setattr(bench.timing, "latency", latency)
    found = bench.latencies(opened, opened["float32"], X[:1], 5)["int8"]
    assert (found["latency µs"], found["latency ratio"], found["ratio to default"]) == (1e6, 0.5, 0.25)
    assert (found["latency ratio low"], found["latency ratio high"]) == (0.5, 0.5)


def test_it_can_be_timed(files):
    opened = bench.opened(files, "builtin")
    found = bench.latencies(opened, bench.opened(files, "default")["float32"], X[:1], 3)
    assert found["float32"]["latency ratio"] == 1 and found["int8"]["latency µs"] > 0
    assert not any(figures["delegated"] for figures in found.values())


def test_every_row_of_a_network_has_the_columns_of_the_parts(files, monkeypatch):
    """Rows of files that do not run are empty there; other parts' columns are not touched."""
    small = bench.data.Dataset("own", X, np.arange(40) % 4, X, np.arange(40) % 4, X, np.arange(40) % 4, tuple("abcd"))
    monkeypatch.setattr(bench, "SAMPLES", 8)
    monkeypatch.setattr(bench.training, "trained", lambda *_, **__: None)
    monkeypatch.setattr(bench, "files_of", lambda *_: files)
    rows = bench.measured_network("mlp", small, ["accuracy"])
    assert len({tuple(row) for row in rows}) == 1 and "latency µs" not in rows[0]
    assert {row["runs"] for row in rows if row["accuracy %"] is None} == {"cannot be run"}
    assert {row["kernels"] for row in rows if row["accuracy %"] is not None} == set(KERNELS)


# ---------------------------------------------------------------- the command


@pytest.fixture
def measured(tmp_path, monkeypatch):
    """The command with an empty folder of records, quick stand-ins for measuring and digests, and a processor."""
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    monkeypatch.setattr(
        recorded, "digests", lambda named: {"benchmarks.networks:measured": "1", "utils.models:mlp": "2"}
    )
    asked = {"cpu": "A", "calls": []}

    def measure(parts, chosen):
        asked["calls"].append((tuple(parts), tuple(chosen)))
        return [
            {**dict(zip(bench.KEY, (*pair, mode, kernels, asked["cpu"]), strict=True)), **dict.fromkeys(parts, 1)}
            for pair in chosen
            for mode in ("float32", "int8")
            for kernels in KERNELS
        ]

    measure.__code__ = measure.__code__.replace(co_filename=bench.__file__)
    measure.__qualname__ = measure.__name__ = "measured"
    monkeypatch.setattr(bench, "measured", measure)
    return asked


def test_all_is_measured_at_first_and_parts_are_filled_in(measured):
    assert bench.main(["--only", "accuracy"]) == bench.main(["--only", "latency", "--networks", "mlp"]) == 0
    rows = recorded.load("networks").rows
    assert len(rows) == len(bench.NETWORKS) * 2 * len(KERNELS)
    assert all("accuracy" in row and ("latency" in row) == (row["network"] == "mlp") for row in rows)
    assert [tuple(row[c] for c in bench.KEY) for row in rows[:2]] == [
        ("mlp", "fashion_mnist", "float32", "default", "A"),
        ("mlp", "fashion_mnist", "float32", "builtin", "A"),
    ]


def test_another_processor_adds_its_rows_behind(measured):
    bench.main([])
    measured["cpu"] = "B"
    bench.main(["--networks", "lenet5"])
    rows = recorded.load("networks").rows
    half = len(bench.NETWORKS) * 2 * len(KERNELS)
    assert {row["processor"] for row in rows[:half]} == {"A"}
    assert {(row["processor"], row["network"], row["data"]) for row in rows[half:]} == {
        ("B", "lenet5", "fashion_mnist"), ("B", "lenet5", "mnist"),
    }  # fmt: skip


def test_other_code_is_refused_before_measuring(measured, tmp_path):
    bench.main([])
    stored = json.loads((tmp_path / "networks.json").read_text())
    del stored["seal"]
    stored["digests"]["utils.models:mlp"] = "other"
    (tmp_path / "networks.json").write_text(json.dumps(stored | {"seal": recorded._seal(stored)}))
    calls = len(measured["calls"])
    with pytest.raises(ValueError, match=r"other code \(utils\.models:mlp has changed\)"):
        bench.main(["--only", "latency"])
    assert len(measured["calls"]) == calls
    assert bench.main(["--anew"]) == 0 and recorded.changes("networks") == []


def test_an_unknown_network_is_refused(measured, capsys):
    with pytest.raises(SystemExit):
        bench.main(["--networks", "lenet9"])
    assert "no network 'lenet9'" in capsys.readouterr().err and not measured["calls"]
