"""benchmarks/quantization_aware_causes.py: its tables follow from their seeds, and re-estimating trains nothing."""

import numpy as np
import pytest
import tf_keras

from benchmarks import quantization_aware
from benchmarks import quantization_aware_causes as bench
from utils import recorded
from utils.optimize.quantization import rounding

WITH_SEEDS = ("start", "learned", "depthwise", "statistics", "files", "clipped")


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


@pytest.mark.parametrize("begin", ["absmax, nearest", "clipped, nearest", "clipped, GPTQ"])
def test_the_steps_of_a_start_are_absmaxs_or_the_clipped_ones(begin):
    layers = [tf_keras.layers.Dense(5, activation="relu"), tf_keras.layers.Dense(3)]
    model = tf_keras.Sequential([tf_keras.Input((40,)), *layers])
    model.set_weights([np.random.default_rng(i).normal(size=w.shape) for i, w in enumerate(model.get_weights())])
    pictures = np.random.default_rng(9).uniform(size=(200, 5, 8))
    made = bench.kernels_of(model, 3, begin, pictures)
    for kernel, start in zip(model.get_weights()[::2], made, strict=True):
        wanted, top = rounding.steps(kernel, 3, clip=begin != "absmax, nearest")
        assert np.allclose(np.abs(start).max(axis=0), top * wanted)
        if begin == "clipped, nearest":
            assert np.allclose(rounding.nearest(start, 3), rounding.nearest(kernel, 3, clip=True))
