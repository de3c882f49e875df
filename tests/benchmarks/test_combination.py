"""benchmarks/combination.py: rows follow from their seeds and rates, recipes are steps that exist, counts are right."""

import numpy as np
import pytest
import tf_keras

from benchmarks import combination as bench
from utils import recorded
from utils.optimize import combined
from utils.optimize.pruning.magnitude import prune_once
from utils.optimize.quantization.converter import convert


def test_the_words_of_the_table_are_those_of_its_seeds():
    rows = recorded.load(bench.NAME).rows
    measured = [row["recipe"] for row in rows]  # the same command measures the others
    assert measured == [recipe for recipe in bench.RECIPES if recipe in measured] and len(measured) >= 9
    assert {row["network"] for row in rows} == {bench.NETWORK}
    for row in rows:
        assert row["right %"] == bench.text(row["seeds"]["right %"])
        assert row["zeros %"] == row["seeds"]["zeros %"][0]


def test_each_trained_step_has_the_best_of_the_same_rates_and_earlier_steps_keep_theirs():
    rows = {bench.RECIPES[row["recipe"]]: row for row in recorded.load(bench.NAME).rows}
    for steps, row in rows.items():
        before = rows[steps[:-1]]["rates"] if steps else []
        if not steps or not bench.is_trained(steps[-1]):
            assert row["rates"] == before and not row["tried"]
            continue
        assert row["rates"][:-1] == before
        assert set(row["tried"]) >= {f"{rate:g}" for rate in bench.RATES}
        best = max(found["right %"] for found in row["tried"].values())
        assert row["tried"][f"{row['rates'][-1]:g}"]["right %"] == best


def test_recipes_that_keep_zeros_have_them_and_the_marked_ones_lost_something():
    for row in recorded.load(bench.NAME).rows:
        marked = row["recipe"].endswith("*")
        zeros_gone = "pruned" in row["recipe"] and row["zeros %"] < 79
        values_gone = "clustered" in row["recipe"] and row["in a channel"] > bench.VALUES
        assert (zeros_gone or values_gone) == marked, row


def test_every_step_is_known_and_every_beginning_is_a_recipe_above():
    known = {"train", "train three times", "prune", "prune gradually", "cluster", "cluster, zeros kept"}
    known |= {"int8", "int8, one scale", *combined.KEEP}
    above: set = set()
    for steps in bench.RECIPES.values():
        assert set(steps) <= known
        assert not steps or steps[:-1] in above
        above.add(steps)


def test_an_unknown_step_is_refused_before_it_trains():
    case = bench.Case(steps=2)
    with pytest.raises(ValueError, match="zeros and values"):
        case.stepped(case.network, "sparse", 0, 1e-3)


def test_a_beginning_is_trained_once_and_its_file_counted():
    case = bench.Case(steps=2, rates=(1e-3, 1e-4))
    tried = case.choose(("prune",), 0)
    assert list(tried) == ["0.001", "0.0001"]
    rates = case.chosen[("prune",)]
    assert case.made(("prune",), 0, rates) is case.made(("prune",), 0, rates)
    assert tried[f"{rates[0]:g}"]["zeros %"] == pytest.approx(100 * bench.ZEROS, abs=0.1)
    assert case.choose(("prune", "int8"), 0) == {} and case.chosen["prune", "int8"] == rates
    one = case.file(("prune", "int8, one scale"), 0, rates).content
    each = case.file(("prune", "int8"), 0, rates).content
    assert (bench.scales(one), bench.scales(each)) == (1, 128)


def test_rows_of_the_record_are_not_measured_again(monkeypatch):
    first, *others = bench.RECIPES
    monkeypatch.setattr(bench, "Case", lambda: type("Case", (), {"chosen": {}})())
    monkeypatch.setattr(bench, "recorded_rows", lambda: {first: {"rates": []}})
    monkeypatch.setattr(bench, "measure", lambda case, recipe, steps: {"recipe": recipe})
    stored = []
    monkeypatch.setattr(bench, "store", lambda found, confirmed: stored.append(list(found)))
    monkeypatch.setattr(bench.recorded, "load", lambda name: type("Record", (), {"confirmed": ()})())
    assert bench.measure_all() == 0
    assert stored[0] == [first, others[0]] and stored[-1] == list(bench.RECIPES)
    assert bench.measure_all(anew=True) == 0
    assert stored[len(others)] == [first]
    assert bench.measure_all(minutes=-1) == len(others)


def test_counts_are_of_the_kernel_with_the_most():
    model = tf_keras.Sequential([tf_keras.Input((20,)), tf_keras.layers.Dense(10), tf_keras.layers.Dense(10)])
    first, second = (layer.kernel for layer in model.layers)
    first.assign((np.arange(200) % 7).reshape(20, 10))
    second.assign((np.arange(100) % 3).reshape(10, 10))
    counts = bench.stored(convert(model, "float32").content)
    assert counts["values"] == 7
    assert counts["zeros %"] == round(100 * ((np.arange(200) % 7 == 0).sum() + 34) / 300, 1)
    half = bench.stored(convert(prune_once(model, 0.5), "float32").content)
    assert half["zeros %"] == pytest.approx(50, abs=0.5)
