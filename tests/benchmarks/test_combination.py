"""benchmarks/combination.py: rows follow from their seeds, recipes are steps that exist, counts are right."""

import numpy as np
import pytest
import tf_keras

from benchmarks import combination as bench
from utils import recorded
from utils.optimize import combined
from utils.optimize.pruning.magnitude import prune_once
from utils.optimize.quantization.converter import convert


def test_the_words_of_the_table_are_those_of_its_seeds():
    rows = recorded.load("combination_recipes").rows
    assert [(row["network"], row["recipe"]) for row in rows] == [(n, r) for n in bench.NETWORKS for r in bench.RECIPES]
    for row in rows:
        assert row["right %"] == bench.text(row["seeds"]["right %"])
        assert row["zeros %"] == row["seeds"]["zeros %"][0]
        assert row["rate"] in bench.RATES


def test_recipes_that_keep_zeros_have_them_and_the_marked_ones_lost_something():
    for row in recorded.load("combination_recipes").rows:
        marked = row["recipe"].endswith("*")
        promised = "pruned" in row["recipe"]
        zeros_gone = promised and row["zeros %"] < 79
        values_gone = "clustered" in row["recipe"] and row["in a channel"] > bench.VALUES
        assert (zeros_gone or values_gone) == marked, row


def test_every_step_is_known():
    known = {"float", "int8", "prune", "cluster", "cluster, zeros kept", *combined.KEEP}
    assert {step for recipe in bench.RECIPES.values() for step in recipe} <= known


def test_an_unknown_step_is_refused_before_it_trains():
    case = bench.Case("mlp", steps=2)
    with pytest.raises(ValueError, match="zeros and values"):
        case.stepped(case.network, "sparse", 0, 1e-3)


def test_a_beginning_is_trained_once_and_its_file_counted():
    case = bench.Case("mlp", steps=2)
    first = case.made(("prune",), 0, bench.RATES[0])
    assert case.made(("prune",), 0, bench.RATES[0]) is first
    counts = bench.stored(case.file("pruned", 0, bench.RATES[0]).content)
    assert counts["zeros %"] == pytest.approx(100 * bench.ZEROS, abs=0.1)


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
