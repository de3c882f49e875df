"""benchmarks/pruning.py: rows follow from their seeds, and the ways that it compares do what they say."""

from types import SimpleNamespace

import numpy as np
import pytest
import tf_keras

from benchmarks import pruning as bench
from utils import data, models, recorded
from utils.optimize.pruning import gradual, magnitude


@pytest.mark.parametrize("part", [part for part in bench.PARTS if part != "time"])  # which trains nothing
def test_the_words_of_a_table_are_those_of_its_seeds(part):
    for row in recorded.load(f"pruning_{part}").rows:
        for column, seeds in row["seeds"].items():
            alone = (part, column) == ("levels", "pruned")  # pruning alone draws nothing
            assert len(seeds) == (1 if alone else len(bench.TICKETS if part == "tickets" else bench.SEEDS))
            assert row[column] == bench.with_interval(seeds)
        assert all(rate in bench.GRID for rate in row["rates"].values())
        if part != "structured":  # whose table has four columns, each with its rate in `rates`
            assert row["rate"] == " · ".join(f"{rate:g}" for rate in row["rates"].values())


def test_time_is_measured_of_smaller_files_of_either_kind():
    rows = bench.measure_time(**bench.TINY["time"])
    assert [row["file"] for row in rows] == ["float32", "int8"]
    for row in rows:
        assert row["MACs %"] == 25.3 and 20 < row["bytes %"] < 60
        assert 0 < row["low"] <= row["time %"] <= row["high"]


@pytest.mark.parametrize("part", ["late", "criteria", "last", "tickets", "singles"])
def test_no_rate_was_chosen_at_an_end_of_the_grid(part):
    rows = recorded.load(f"pruning_{part}").rows
    assert {rate for row in rows for rate in row["rates"].values()} <= set(bench.GRID[1:-1])


def test_the_interval_is_that_of_students_t():
    assert bench.with_interval([1.0]) == "1.0"
    assert bench.with_interval([1.0, 2.0, 3.0]) == "2.0 ± 2.5"  # 4.303 · 1 / √3
    assert bench.with_interval(range(6)) == "2.5 ± 2.0"  # 2.571 · 1.871 / √6


@pytest.mark.parametrize(
    ("best", "tried"), [(4, [3, 4, 5]), (5, [3, 4, 5, 6]), (7, [3, 4, 5, 6, 7]), (1, [3, 4, 5, 2, 1])]
)
def test_every_way_looks_for_its_rate_and_validation_pictures_choose(best, tried):
    dataset, asked = data.load("digits"), []

    def make(seed, rate):
        """A model that is wrong the more often, the further `rate` is from the best one."""
        asked.append((seed, rate))
        answers = np.array(dataset.y_val)
        answers[: 10 * abs(rate - best)] += 1
        return lambda: answers

    def share(model, x, y):
        assert len(x) == len(dataset.x_val)  # never the test set
        return np.mean(model() == y)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bench.training, "share_correct", share)
        made, rate = bench.searched(make, dataset, (0, 1, 2), (1, 2, 3, 4, 5, 6, 7))
    assert rate == best and len(made) == 3
    assert asked == [*((0, rate) for rate in tried), (1, best), (2, best)]


def test_weights_are_set_back_under_the_zeros():
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


def test_a_rate_that_falls_late_stays_up_to_the_last_mask(monkeypatch):
    passed, optimizer = {}, tf_keras.optimizers.Adam(0.5)
    monkeypatch.setattr(
        bench.gradual, "prune_while_training", lambda *given, **named: passed.update(named, plan=given[2])
    )
    bench.falling_late(SimpleNamespace(data=data.load("fashion_mnist"), model=None), 0.8, 0, 0.01, 150)
    [fall] = passed["callbacks"]
    fall.set_model(SimpleNamespace(optimizer=optimizer))
    rates = []
    for done in range(150):
        optimizer.iterations.assign(done)
        fall.on_train_batch_begin(0)
        rates.append(float(optimizer.learning_rate))
    last = max(gradual.updates(passed["plan"], 150))
    assert last == 73 and passed["decay"] is False
    assert rates[: last + 1] == pytest.approx([0.01] * (last + 1))
    assert np.all(np.diff(rates[last:]) < 0) and 0 < rates[-1] < 1e-4


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


def test_the_controls_keep_counts_or_places_of_the_one_ranking_and_nothing_else():
    case = bench.Case.__new__(bench.Case)
    case.data = data.load("fashion_mnist")
    case.model = models.mlp(hidden=(9,), seed=3)  # not trained: its weights are its first ones
    names = ["magnitude, all layers", *bench.ALL[2:4]]
    made = bench.pruned_by(case, 0.8, 0, names)
    together, shuffled, first = ([np.asarray(w) for w in bench._kernels(made[name])] for name in names)
    for i, one in enumerate(together):
        assert np.count_nonzero(shuffled[i]) == np.count_nonzero(one)
        np.testing.assert_array_equal(first[i], one)
    assert not np.array_equal(shuffled[0] != 0, together[0] != 0)


def test_with_the_last_layer_dense_there_are_as_many_zeros_in_all():
    model = models.mlp(hidden=(9,), seed=3)
    alike, made = magnitude.prune_once(model, 0.8), bench.last_dense(model, 0.8)
    assert magnitude.sparsity(made) == pytest.approx(magnitude.sparsity(alike), abs=1e-3)
    assert np.all(made.layers[-1].kernel.numpy() != 0)
    assert [layer.name for layer in model.layers][-1] == made.layers[-1].name
