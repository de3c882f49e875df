"""benchmarks/clustering.py: rows follow from their seeds, and its measures are those of their definitions."""

import numpy as np
import pytest
import tf_keras

from benchmarks import clustering as bench
from utils import recorded
from utils.optimize import clustering
from utils.optimize.keras_graph import rebuild


def dense():
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input((40,)), tf_keras.layers.Dense(30), tf_keras.layers.Dense(20)])


@pytest.mark.parametrize("part", bench.PARTS)
def test_the_words_of_a_table_are_those_of_its_seeds(part):
    for row in recorded.load(f"clustering_{part}").rows:
        for column, seeds in row["seeds"].items():
            assert row[column] == bench.text(seeds)
        assert len(row["seeds"]["trained"]) == len(bench.SEEDS)


def test_bits_are_weighted_by_the_size_of_the_arrays():
    model = dense()
    first, second = (layer.kernel for layer in model.layers)
    first.assign(np.arange(1200).reshape(40, 30) % 4)  # 2 bits
    second.assign(np.arange(600).reshape(30, 20) % 2)  # 1 bit
    assert bench.bits(model) == pytest.approx((1200 * 2 + 600) / 1800)


def test_the_error_is_relative_and_zero_without_change():
    model = dense()
    assert bench.squared_error(model, rebuild(model)) == 0
    half = rebuild(model)
    for layer in half.layers:
        layer.kernel.assign(layer.kernel / 2)
    assert bench.squared_error(model, half) == pytest.approx(25)


@pytest.mark.parametrize("name", clustering.STARTS)
def test_the_toolkit_alone_makes_no_more_values_than_asked_for(name):
    model = dense()
    before = model.get_weights()
    made = bench.toolkit_once(model, 8, name)
    assert max(clustering.distinct(made).values()) <= 8
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)
