"""benchmarks/quantization_aware_causes.py: its tables follow from their seeds, and re-estimating trains nothing."""

import numpy as np
import pytest
import tf_keras

from benchmarks import quantization_aware
from benchmarks import quantization_aware_causes as bench
from utils import recorded

WITH_SEEDS = ("start", "learned", "depthwise", "statistics", "files")


@pytest.mark.parametrize("part", WITH_SEEDS)
def test_the_words_of_a_table_are_those_of_its_seeds(part):
    for row in recorded.load(f"quantization_aware_{part}").rows:
        for column, seeds in row["seeds"].items():
            assert row[column] == quantization_aware.text(seeds) and len(seeds) == len(bench.SEEDS)


def test_a_row_has_texts_and_every_seeds_figures():
    made = bench.row({"rule": "lsq"}, {"trained": [1.0, 2.004, 3.0]})
    assert made["rule"] == "lsq" and made["seeds"] == {"trained": [1.0, 2.0, 3.0]}
    assert made["trained"] == quantization_aware.text([1.0, 2.0, 3.0])


def test_re_estimating_moves_the_statistics_and_nothing_else():
    layers = [tf_keras.layers.Dense(3), tf_keras.layers.BatchNormalization(momentum=0.5), tf_keras.layers.Dense(2)]
    model = tf_keras.Sequential([tf_keras.Input((4,)), *layers])
    before = [weight.numpy() for weight in model.weights]
    bench.re_estimated(model, np.random.default_rng(0).normal(3, 1, (256, 4)).astype(np.float32))
    moved = {
        weight.name.rpartition("/")[2]
        for weight, old in zip(model.weights, before, strict=True)
        if not np.array_equal(weight.numpy(), old)
    }
    assert moved == {"moving_mean:0", "moving_variance:0"}
