"""benchmarks/pruning.py: rows follow from their seeds, and the ways that it compares do what they say."""

import numpy as np
import pytest
import tf_keras

from benchmarks import pruning as bench
from benchmarks import quantization_aware
from utils import data, recorded
from utils.optimize.pruning import magnitude


@pytest.mark.parametrize("part", bench.PARTS)
def test_the_words_of_a_table_are_those_of_its_seeds(part):
    for row in recorded.load(f"pruning_{part}").rows:
        for column, seeds in row["seeds"].items():
            alone = (part, column) == ("levels", "pruned")  # pruning alone draws nothing
            assert len(seeds) == (1 if alone else len(bench.SEEDS))
            assert row[column] == (f"{seeds[0]:.1f}" if alone else quantization_aware.text(seeds))
        assert all(rate in bench.RATES for rate in row.get("rates", {}).values())


def test_every_way_tries_all_rates_once_and_validation_pictures_choose():
    dataset, asked = data.load("digits"), []

    def make(seed, rate):
        """A model that is right where `rate` is 0.01, and wrong otherwise."""
        asked.append((seed, rate))
        answers = dataset.y_val if rate == 0.01 else 1 + dataset.y_val
        return lambda: answers

    def share(model, x, y):
        assert len(x) == len(dataset.x_val)  # never the test set
        return np.mean(model() == y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.training, "share_correct", share)
        made, rate = bench.best(make, dataset, (0, 1, 2), (0.001, 0.01, 0.1))
    assert rate == 0.01 and len(made) == 3
    assert asked == [(0, 0.001), (0, 0.01), (0, 0.1), (1, 0.01), (2, 0.01)]


def test_rewinding_puts_first_weights_under_the_zeros():
    model = tf_keras.Sequential([tf_keras.Input((6,)), tf_keras.layers.Dense(5), tf_keras.layers.BatchNormalization()])
    first = [np.full(w.shape, 7.0) for w in model.get_weights()]
    pruned = magnitude.prune_once(model, 0.5)
    zeros = pruned.layers[0].kernel.numpy() == 0
    bench._set_back(pruned, first)
    np.testing.assert_array_equal(pruned.layers[0].kernel.numpy(), np.where(zeros, 0, 7))
    assert all(np.all(w == 7) for w in pruned.get_weights()[1:])


def test_rounds_end_at_their_target_and_grow():
    for target, rounds in bench.ROUNDS.items():
        assert rounds[-1] == target and list(rounds) == sorted(rounds)


def test_a_mask_is_put_on_other_weights():
    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3), tf_keras.layers.Dense(2)])
    masks = [np.eye(4, 3), np.ones((3, 2))]
    made = bench._masked(model, masks)
    np.testing.assert_array_equal(made.layers[0].kernel, model.layers[0].kernel * masks[0])
    np.testing.assert_array_equal(made.layers[1].kernel, model.layers[1].kernel)
    assert magnitude.sparsity(model) == 0  # the model itself stays


def test_new_first_weights_keep_the_architecture():
    model = tf_keras.Sequential([tf_keras.Input((4,)), tf_keras.layers.Dense(3)])
    made, again, other = (bench.reset(model, seed) for seed in (1, 1, 2))
    assert made.to_json() == model.to_json()
    np.testing.assert_array_equal(made.layers[0].kernel, again.layers[0].kernel)
    assert not np.array_equal(made.layers[0].kernel, other.layers[0].kernel)


def test_shuffling_keeps_the_number_of_each_array_and_moves_the_places():
    model = tf_keras.Sequential([tf_keras.Input((40,)), tf_keras.layers.Dense(30), tf_keras.layers.Dense(20)])
    pruned = magnitude.prune_once(model, 0.9, scope="model")
    kernels = [layer.kernel.numpy() for layer in pruned.layers]
    masks = bench._shuffled(pruned, 0)
    assert [mask.sum() for mask in masks] == [np.count_nonzero(kernel) for kernel in kernels]
    assert not np.array_equal(masks[0], kernels[0] != 0)
