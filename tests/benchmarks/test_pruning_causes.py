"""benchmarks/pruning_causes.py: each row changes the one cause that it names."""

import itertools

import numpy as np
import pytest
import tf_keras

from benchmarks import pruning
from benchmarks import pruning_causes as bench
from utils import recorded
from utils.optimize.keras_graph import rebuild
from utils.optimize.pruning import criteria, magnitude


@pytest.fixture(scope="module")
def mlp():
    return pruning.Case("mlp")


@pytest.mark.parametrize("part", ["ways", "places", "counts", "normalized"])
def test_the_words_of_a_table_are_those_of_its_seeds(part):
    for row in recorded.load(f"pruning_causes_{part}").rows:
        for column, seeds in row["seeds"].items():
            assert len(seeds) == len(bench.SEEDS) and row[column] == pruning.with_interval(seeds)


@pytest.mark.parametrize("part", ["ways", "places", "normalized"])
def test_no_rate_was_chosen_at_an_end_of_the_grid(part):
    rows = recorded.load(f"pruning_causes_{part}").rows
    assert {rate for row in rows for rate in row["rates"].values()} <= set(pruning.GRID[1:-1])


@pytest.mark.parametrize("way", bench.WAYS)
def test_each_way_leaves_the_last_layer_dense_and_makes_as_many_zeros(mlp, way):
    *others, last = pruning._kernels(bench.WAYS[way](mlp, 0.9, 0, 1e-3, 6))
    zeros = sum(int((w.numpy() == 0).sum()) for w in others)
    whole = magnitude.prune_once(mlp.model, 0.9)
    assert np.all(last.numpy() != 0)
    assert zeros == pytest.approx(sum(int((w.numpy() == 0).sum()) for w in pruning._kernels(whole)), abs=4)


def test_the_callback_keeps_the_rate_until_the_last_mask(mlp):
    class Model:
        optimizer = tf_keras.optimizers.Adam(1.0)

    callback, seen = bench._fall_late(0.5, 4, 10), []
    callback.set_model(Model)
    for step in range(11):
        Model.optimizer.iterations.assign(step)
        callback.on_train_batch_begin(0)
        seen.append(float(Model.optimizer.learning_rate))
    assert seen[:5] == [0.5] * 5 and seen[10] == pytest.approx(0, abs=1e-7)
    assert all(a > b for a, b in itertools.pairwise(seen[4:]))


@pytest.mark.parametrize("zeros", [0, 1, 5, 6])
def test_the_smallest_scores_go(zeros):
    scores = np.array([[3.0, 1.0, 2.0], [5.0, 4.0, 0.5]])
    mask = bench._all_but_smallest(scores, zeros)
    assert mask.shape == scores.shape and int((mask == 0).sum()) == zeros
    assert zeros in (0, 6) or scores[mask == 0].max() < scores[mask == 1].min()


def test_lamp_is_its_formula_and_no_factor_changes_it():
    model = tf_keras.Sequential([tf_keras.Input((5,)), tf_keras.layers.Dense(4), tf_keras.layers.Dense(3)])
    scores = bench.lamp_scores(model)
    for kernel, each in zip(pruning._kernels(model), scores, strict=True):
        squares = kernel.numpy().astype(np.float64).ravel() ** 2
        np.testing.assert_allclose(each.ravel(), [s / squares[squares >= s].sum() for s in squares])
        assert each.max() == 1
    model.layers[0].kernel.assign(model.layers[0].kernel * 8)
    for before, after in zip(scores, bench.lamp_scores(model), strict=True):
        np.testing.assert_array_equal(before, after)


def test_scaled_weights_are_the_same_function():
    case = pruning.Case("residual_cnn")
    other = bench.scaled(case.model, "block_3_a_conv", 0.1)
    x = case.data.x_val[:50]
    np.testing.assert_allclose(other.predict(x, verbose=0), case.model.predict(x, verbose=0), atol=1e-5)
    ratio = other.get_layer("block_3_a_conv").kernel / case.model.get_layer("block_3_a_conv").kernel
    np.testing.assert_allclose(ratio, 0.1, rtol=1e-6)


def test_counts_by_a_score_with_its_own_places_are_its_ranking(mlp):
    scores = criteria.magnitude_scores(mlp.model)
    ranked = criteria.prune_by(mlp.model, scores, 0.9, scope="model")
    zeros = [int((w.numpy() == 0).sum()) for w in pruning._kernels(ranked)]
    masks = [bench._all_but_smallest(each, count) for each, count in zip(scores, zeros, strict=True)]
    made = pruning._masked(rebuild(mlp.model), masks)
    for ours, theirs in zip(pruning._kernels(made), pruning._kernels(ranked), strict=True):
        np.testing.assert_array_equal(ours.numpy(), theirs.numpy())
