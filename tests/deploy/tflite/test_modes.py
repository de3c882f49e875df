"""What a comparison of files says is what stands in them."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras

from utils.deploy.tflite import modes
from utils.optimize.quantization import converter, recipes
from utils.optimize.quantization.converter import convert

K = tf_keras.layers


@pytest.fixture(scope="module")
def files():
    tf_keras.utils.set_random_seed(0)
    model = tf_keras.Sequential([K.Input((40,)), K.Dense(64, "relu"), K.Dense(3)])
    x = np.random.default_rng(0).random((20, 40), np.float32)
    model.set_weights([w + 0.1 for w in model.get_weights()])  # biases of 0 would be left out of the file
    made = modes.convert_all(model, x)
    assert list(made) == list(converter.MODES)
    return made | {"int4": recipes.quantize(made["float32"], "weight_only_int4")}


@pytest.mark.parametrize(
    "mode, expected",
    [
        ("float32", ("float32", "float32", "float32", "none", "float32", "float", "float32")),
        ("float16", ("float32", "float32", "float16", "none", "float16", "float", "float32")),
        ("dynamic", ("float32", "float32", "int8", "64", "float32", "hybrid", "float32")),
        ("int8", ("int8", "int8", "int8", "64", "int32", "integer", "int8")),
        ("int8_float_io", ("float32", "int8", "int8", "64", "int32", "integer", "float32")),
        ("int16x8", ("float32", "int16", "int8", "64", "int64", "integer", "float32")),
        ("int4", ("float32", "float32", "int4", "64", "float32", "float", "float32")),
    ],
)
def test_each_mode_has_its_integers_where_they_belong(files, mode, expected):
    assert tuple(modes.integers(files[mode]).values()) == expected


def test_the_bias_is_that_of_the_largest_layer():
    model = tf_keras.Sequential([K.Input((40,)), K.Dense(64, use_bias=False), K.Dense(3, bias_initializer="ones")])
    assert modes.integers(convert(model, "float32"))["bias"] == "none"


def test_the_table_weighs_scores_and_times(files):
    x, y = np.random.default_rng(1).random((50, 40), np.float32), np.zeros(50, int)
    rows = {row["mode"]: row for row in modes.table(files, x, y, rounds=5)}
    assert list(rows) == list(files) and rows["float32"]["share"] == rows["float32"]["time"] == 1
    assert rows["int8"]["bytes"] == files["int8"].size
    assert rows["int8"]["accuracy"] == np.mean(files["int8"].predict(x).argmax(1) == 0)
    assert rows["float32"]["XNNPACK"] and not rows["int16x8"]["XNNPACK"]
    assert all(row["without XNNPACK"] > 0 for row in rows.values())


def test_what_is_not_there_is_said(files):
    with pytest.raises(ValueError, match=r"no CONV_2D with stored weights; it has \['FULLY_CONNECTED'\]"):
        modes.integers(files["float32"], "CONV_2D")
    with pytest.raises(ValueError, match="no files to compare"):
        modes.table({}, np.zeros((1, 2)), np.zeros(1, int))


@pytest.mark.parametrize("given, rounds", [({}, 50), ({"rounds": 3}, 3)])
def test_times_are_ratios_of_medians_of_as_many_rounds(files, monkeypatch, given, rounds):
    asked = []

    def latency(calls, *, rounds):
        asked.append(rounds)
        return {name: SimpleNamespace(median=2.0 + number) for number, name in enumerate(calls)}

    monkeypatch.setattr(modes.timing, "latency", latency)
    two = {name: files[name] for name in ("float32", "int8")}
    x, y = np.random.default_rng(1).random((4, 40), np.float32), np.zeros(4, int)
    rows = modes.table(two, x, y, trusted=True, **given)
    assert asked == [rounds] * 2
    assert [(row["time"], row["without XNNPACK"]) for row in rows] == [(1, 1), (1.5, 1.5)]
    assert rows[1]["share"] == files["int8"].size / files["float32"].size


def test_a_bias_alone_is_no_layer_with_stored_weights(files, monkeypatch):
    rows = recipes.report(files["float32"])
    only_biases = [row for row in rows if len(row["shape"]) == 1]
    assert only_biases
    monkeypatch.setattr(modes.recipes, "report", lambda artifact: only_biases)
    with pytest.raises(ValueError, match="no FULLY_CONNECTED with stored weights"):
        modes.integers(files["float32"])


def test_a_file_with_two_inputs_is_compared_too():
    starts = [K.Input((3,), name=name) for name in "ab"]
    file = convert(tf_keras.Model(starts, K.Dense(4)(K.Add()(starts))), "float32")
    x = {name: np.random.default_rng(0).random((9, 3), np.float32) for name in "ab"}
    (row,) = modes.table({"float32": file}, x, np.zeros(9, int), rounds=3)
    assert row["accuracy"] == np.mean(file.predict(x).argmax(1) == 0) and row["time"] == 1


@pytest.mark.parametrize("wrap", [lambda f: [f], lambda f: {"a": f.content}, lambda f: {"a": tf_keras.Sequential()}])
def test_what_is_no_file_is_refused(files, wrap):
    with pytest.raises(TypeError, match=r"files is a list; pass \{name: artifact\}|'a' is .*; pass .tflite artifacts"):
        modes.table(wrap(files["float32"]), np.zeros((1, 40), np.float32), np.zeros(1, int))


def test_all_files_are_timed_in_one_thread_with_both_kinds_of_kernels(files, monkeypatch):
    opened = []

    class Noted(modes.TFLiteModel):
        def __init__(self, source, kernels, threads, **options):
            opened.append((kernels, threads))
            super().__init__(source, kernels, threads, **options)

    monkeypatch.setattr(modes, "TFLiteModel", Noted)
    two = {name: files[name] for name in ("float32", "int8")}
    modes.table(two, np.zeros((2, 40), np.float32), np.zeros(2, int), rounds=2, trusted=True)
    assert opened == [("default", 1)] * 2 + [("builtin", 1)] * 2
