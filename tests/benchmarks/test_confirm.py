"""--confirm: rows of the record that are measured alike confirm it, and one other figure refuses it."""

from __future__ import annotations

import copy
import shutil

import numpy as np
import pytest

from benchmarks import measuring, quantization, quantization_aware, tflite, toolkit, weights
from utils import recorded

FOLDER = recorded.RESULTS


def first_seed(value):
    """A cell as one seed fills it."""
    if isinstance(value, dict):
        return {part: first_seed(inside) for part, inside in value.items()}
    return value[:1] if isinstance(value, list) else value


def stand_ins(rows, name):
    """What stands in for measuring: it gives those rows of the record that are asked for."""

    def chosen(**asked):
        return [row for row in rows if all(row[column] in some for column, some in asked.items())]

    return {
        "measuring": {"hits": lambda *_: None, "table": lambda right: chosen(seed=right)},
        "toolkit_layers": {"measured_layers": lambda names: {each: chosen(layer=[each]) for each in names}},
        "toolkit_below": {"measured_below": lambda names: chosen(network=names)},
        "tflite_growth": {"measured": lambda plan: [row for row in rows if {**row, **any_of(plan, row)} == row]},
        "quantization_seeds": {"measure_seeds": lambda networks, _: chosen(network=networks)},
        "quantization_growth": {"measure_growth": lambda _, sizes: chosen(times=sizes)},
        "quantization_peer": {"measure_peer": lambda _, names: chosen(model=names)},
        "quantization_tutorial": {"measure_tutorial": lambda _: rows},
        "quantization_aware_bits": {
            "measure_bits": lambda _, networks, __: [
                row for row in chosen(network=networks) if row["bits"] in ("float", "4 / 4")
            ]
        },
        "quantization_aware_recovery": {"measure_recovery": lambda _, recipes, __: chosen(recipe=["none", *recipes])},
    }[name]


def any_of(plan, row):
    """The planned row that this one was measured for; else one that does not fit."""
    return next((planned for planned in plan if {**row, **planned} == row), {"varied": "nothing"})


RECORDS = {
    "measuring": (measuring, lambda: measuring.confirm_one(None)),
    "toolkit_layers": (toolkit, toolkit.confirm_layers),
    "toolkit_below": (toolkit, toolkit.confirm_below),
    "tflite_growth": (tflite, tflite.confirm_some),
    "quantization_seeds": (quantization, quantization.confirm_seeds),
    "quantization_growth": (quantization, quantization.confirm_growth),
    "quantization_peer": (quantization, quantization.confirm_peer),
    "quantization_tutorial": (quantization, quantization.confirm_tutorial),
    "quantization_aware_bits": (quantization_aware, lambda: quantization_aware.confirm_bits(None)),
    "quantization_aware_recovery": (quantization_aware, lambda: quantization_aware.confirm_recovery(None)),
}

#: A figure of each record that its confirmation compares.
FIGURES = {
    "measuring": "test accuracy", "toolkit_layers": "outcome", "toolkit_below": "oneDNN", "tflite_growth": "bytes",
    "quantization_seeds": "seeds", "quantization_growth": "growth", "quantization_peer": "ratio",
    "quantization_tutorial": "seeds", "quantization_aware_bits": "lost", "quantization_aware_recovery": "lost",
}  # fmt: skip


def other(value):
    """The same cell with other figures."""
    if isinstance(value, dict):
        return {part: other(inside) for part, inside in value.items()}
    if isinstance(value, list):
        return [other(inside) for inside in value]
    return "otherwise" if isinstance(value, str) else None if value is None else 2 * value + 1


@pytest.fixture
def confirming(request, tmp_path, monkeypatch):
    """What --confirm runs, and the rows that its stand-in gives; on a copy of one record, where it was recorded."""
    name = request.param
    module, confirm = RECORDS[name]
    shutil.copy(FOLDER / f"{name}.json", tmp_path)
    monkeypatch.setattr(recorded, "RESULTS", tmp_path)
    old = recorded.load(name)
    monkeypatch.setattr(recorded, "processor", lambda: old.processors[0])
    monkeypatch.setattr(recorded, "digests", lambda named: dict.fromkeys(named, "today"))
    monkeypatch.setattr(recorded, "_named", lambda what: "benchmarks.any:function")
    rows = [first_seed(row) for row in copy.deepcopy(old.rows)]
    for function, stand_in in stand_ins(rows, name).items():
        monkeypatch.setattr(module, function, stand_in)
    return name, confirm, rows


@pytest.mark.parametrize("confirming", RECORDS, indirect=True)
def test_the_recorded_figures_confirm_and_others_do_not(confirming):
    name, confirm, rows = confirming
    confirm()
    stored = recorded.load(name)
    assert stored.digests == {"benchmarks.any:function": "today"} and stored.confirmed[-1]["rows"]
    for row in rows:
        row[FIGURES[name]] = other(row[FIGURES[name]])
    with pytest.raises(recorded.RecordRefused, match="must be measured again"):
        confirm()
    assert recorded.load(name) == stored


def test_weights_with_other_bytes_are_refused(tmp_path, monkeypatch):
    def measure(architecture, name, folder):
        (folder / f"{architecture}-{name}.npz").write_bytes(b"other")
        return [{"core_seconds": 1.0}]

    monkeypatch.setattr(weights, "measure", measure)
    monkeypatch.setattr(recorded, "processor", lambda: recorded.load("weights").processors[0])
    before = (FOLDER / "weights.json").read_bytes()
    with pytest.raises(recorded.RecordRefused, match=r"mlp-fashion_mnist\.npz has other bytes"):
        weights.confirm_some([("mlp", "fashion_mnist")])
    assert (FOLDER / "weights.json").read_bytes() == before


@pytest.mark.parametrize("name", ["quantization_seeds", "quantization_tutorial"])
def test_the_words_of_a_table_are_those_of_its_seeds(name):
    """What --confirm leaves out: means and intervals follow from the seeds' figures by today's code."""
    for row in recorded.load(name).rows:
        seeds = row["seeds"]
        if name == "quantization_tutorial":
            assert row["accuracy"] == quantization.text(seeds)
        elif seeds:
            whole = np.add(seeds["accuracy"], seeds["lost"])
            said = quantization.over_seeds(seeds["accuracy"], list(whole))
            assert (said["accuracy"], said["lost"]) == (row["accuracy"], row["lost"])


@pytest.mark.parametrize("name", ["quantization_aware_bits", "quantization_aware_recovery"])
def test_the_words_of_tables_of_training_are_those_of_their_seeds(name):
    for row in recorded.load(name).rows:
        columns = {"minmax": "min-max", "mse": "mse", "trained": "trained"} if name.endswith("bits") else {}
        for part, seeds in row["lost"].items():
            assert row[columns.get(part, part)] == quantization_aware.text(seeds)
