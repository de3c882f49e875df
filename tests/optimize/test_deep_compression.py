"""The training that makes a network small: few weights, few values, and still the network that it was."""

import contextlib
import functools
import itertools
import math

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from utils.optimize import coding, deep_compression
from utils.optimize.deep_compression import Plan, Training
from utils.optimize.keras_graph import rebuild

K = tf_keras.layers
PLAN = Plan(kept=60, levels=3, steps=400, learning_rate=1e-2, stages=4)


def dense():
    tf_keras.utils.set_random_seed(0)
    return tf_keras.Sequential([tf_keras.Input((12,)), K.Dense(16, "relu", name="hidden"), K.Dense(3, name="logits")])


def convolutional():
    tf_keras.utils.set_random_seed(0)
    inputs = tf_keras.Input((6, 6, 1))
    x = K.Conv2D(5, 3, padding="same", name="conv")(inputs)
    x = K.MaxPooling2D(2, name="pool")(x)
    x = K.Flatten(name="flat")(x)
    x = K.Dense(8, "relu", name="hidden")(x)
    return tf_keras.Model(inputs, K.Dense(3, name="logits")(x))


def batches(model, seed=0):
    """Which third of the inputs has the largest sum?"""
    rng = np.random.default_rng(seed)
    while True:
        x = rng.random((32, *model.input_shape[1:]), np.float32)
        label = x.reshape(32, 3, -1).sum(2).argmax(1)
        yield x, np.eye(3, dtype=np.float32)[label]


@functools.cache
def trained(build, seed=0):
    model = build()
    return model, deep_compression.train(model, PLAN, batches(model), seed=seed)


def kernels(model):
    return [layer.kernel.numpy() for layer in model.layers if layer.weights]


@pytest.mark.parametrize("build", [dense, convolutional])
def test_few_weights_are_kept_and_they_are_multiples_of_a_step(build):
    _, small = trained(build)
    assert 20 <= sum(np.count_nonzero(kernel) for kernel in kernels(small)) <= PLAN.kept
    for kernel in kernels(small):
        values = np.unique(np.abs(kernel[kernel != 0]))
        steps = values / values.min() if len(values) else values
        factor = min(range(1, PLAN.levels + 1), key=lambda f: np.abs(steps * f - np.round(steps * f)).max())
        np.testing.assert_allclose(steps * factor, np.round(steps * factor), atol=1e-3)
        assert len(values) <= PLAN.levels
    for layer in small.layers:
        if layer.weights:
            np.testing.assert_array_equal(layer.bias.numpy() % PLAN.bias_step, 0)


@pytest.mark.parametrize("build", [dense, convolutional])
def test_shapes_are_those_of_the_model_which_stays(build):
    model, small = trained(build)
    assert [w.shape for w in small.weights] == [w.shape for w in model.weights]
    for old, new in zip(model.get_weights(), build().get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


@pytest.mark.parametrize("build", [dense, convolutional])
def test_it_learns_what_it_was_shown_and_survives_the_coder(build):
    model, small = trained(build)
    x, targets = next(batches(model, seed=9))
    assert np.mean(small.predict(x, verbose=0).argmax(1) == targets.argmax(1)) > 0.6
    again = coding.decompress(coding.compress(coding.sort_units(small)))
    np.testing.assert_allclose(again.predict(x, verbose=0), small.predict(x, verbose=0), atol=1e-4)


def test_the_same_seed_gives_the_same_network():
    first = deep_compression.train(dense(), PLAN, batches(dense()), seed=1)
    second = deep_compression.train(dense(), PLAN, batches(dense()), seed=1)
    for old, new in zip(first.get_weights(), second.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_reports_come_after_so_many_steps_and_at_the_end():
    seen = []
    plan = Plan(kept=60, levels=3, steps=50, stages=0)
    deep_compression.train(dense(), plan, batches(dense()), report=lambda step, _: seen.append(step), every=20)
    assert seen == [20, 40, 50]


# ---------------------------------------------------------------- dropping and padding


def with_dead_units():
    """A training in which one filter reaches nothing and one hidden unit is reached by nothing."""
    training = Training(convolutional(), PLAN)
    masks = [training.kept[i].numpy() for i in (0, 2, 4)]
    masks[1].reshape(9, 5, 8)[:, 2] = 0  # nobody uses filter 2
    masks[1][:, 6] = 0  # hidden unit 6 sees nothing
    for i, mask in zip((0, 2, 4), masks, strict=True):
        training.kept[i].assign(mask)
    training.kept[3].assign(np.arange(8) != 6)  # its bias goes with it
    training._show()
    return training


def test_what_is_dropped_changes_no_output():
    training = with_dead_units()
    smaller = training.drop_dead()
    assert [v.shape[-1] for v in smaller.variables] == [4, 4, 7, 7, 3, 3]
    x = np.random.default_rng(0).random((8, 6, 6, 1), np.float32)
    np.testing.assert_allclose(smaller.model.predict(x, verbose=0), training.model.predict(x, verbose=0), atol=1e-5)
    assert smaller.total == training.total


def test_moments_are_those_of_the_units_that_stay():
    training = with_dead_units()
    training.mean[2].assign(np.arange(45 * 8).reshape(45, 8))
    smaller = training.drop_dead()
    stays = np.arange(45).reshape(9, 5)[:, [0, 1, 3, 4]].ravel()
    expected = np.arange(45 * 8).reshape(45, 8)[stays][:, [0, 1, 2, 3, 4, 5, 7]]
    np.testing.assert_array_equal(smaller.mean[2].numpy(), expected)


def test_padding_gives_back_shapes_and_outputs():
    training = with_dead_units()
    model = convolutional()
    full = deep_compression.padded(training.drop_dead().model, model)
    assert [w.shape for w in full.weights] == [w.shape for w in model.weights]
    x = np.random.default_rng(0).random((8, 6, 6, 1), np.float32)
    np.testing.assert_allclose(full.predict(x, verbose=0), training.model.predict(x, verbose=0), atol=1e-5)


def test_a_layer_without_units_is_refused():
    training = Training(dense(), PLAN)
    training.kept[0].assign(np.zeros((12, 16)))
    with pytest.raises(ValueError, match="'hidden'"):
        training.drop_dead()


def test_dead_units_take_their_neighbours_along():
    first, second, third = np.ones((4, 3)), np.ones((3, 2)), np.ones((2, 2))
    third[1] = 0  # nobody uses unit 1 of the second layer …
    second[2, 0] = 0  # … and unit 2 of the first one reached only that
    alive = deep_compression.without_dead_units([first, second, third])
    np.testing.assert_array_equal(alive[0], [True, True, False])
    np.testing.assert_array_equal(alive[1], [True, False])
    assert not first[:, 2].any() and not second[:, 1].any() and alive[2].all()


# ---------------------------------------------------------------- arithmetic


def test_the_score_keeps_what_costs_most_for_its_bits():
    training = Training(dense(), PLAN)
    square = np.zeros((12, 16), np.float32)
    square[:, :4] = 1.0  # the loss feels only these
    training.square[0].assign(square)
    training.square[2].assign(np.ones((16, 3)))
    training.keep(40)
    kept = training.kept[0].numpy()
    assert not kept[:, 4:].any() and kept[:, :4].any()


@settings(max_examples=50, deadline=None)
@given(arrays(np.float32, 20, elements=st.floats(-4, 4, width=32)), st.floats(0.05, 1), st.integers(1, 7))
def test_on_the_grid_means_a_multiple_that_is_near_and_not_zero(values, step, levels):
    found = deep_compression.on_grid(values, step, levels)
    numbers = np.abs(found / np.float32(step))
    np.testing.assert_allclose(numbers, np.round(numbers), atol=1e-3)
    assert (np.round(numbers[values != 0]) >= 1).all() and (np.round(numbers) <= levels).all()
    inside = (np.abs(values) >= step) & (np.abs(values) <= levels * step)
    assert (np.abs(found - values)[inside] <= step / 2 + 1e-5).all()


def test_the_best_step_is_exact_for_values_on_a_grid():
    values = 0.25 * np.array([1, -1, 2, -3, 0, 0], np.float32)
    step = deep_compression.best_step(values, 3)
    assert np.abs(deep_compression.on_grid(values[:4], step, 3) - values[:4]).max() < 0.05
    assert deep_compression.best_step(np.zeros(3, np.float32), 3) == 1.0


def test_a_position_in_a_full_row_is_cheaper():
    kept = np.zeros((30, 20))
    kept[4] = 1
    kept[10, 3] = 1
    bits = deep_compression.position_bits(kept)
    assert bits[4, 3] < bits[10, 3] < bits[20, 7]
    assert bits.shape == kept.shape and np.isfinite(bits).all() and (bits > 0).all()


def test_soft_targets_are_probabilities_between_teacher_and_label():
    logits = np.array([[2.0, 0.0, -1.0], [0.0, 0.0, 0.0]])
    targets = deep_compression.soft_targets(logits, np.array([1, 2]), 0.75)
    np.testing.assert_allclose(targets.sum(1), 1, rtol=1e-6)
    soft = np.exp(logits[0]) / np.exp(logits[0]).sum()
    np.testing.assert_allclose(targets[0], 0.75 * soft + [0, 0.25, 0], rtol=1e-5)
    with pytest.raises(ValueError, match="soft_share"):
        deep_compression.soft_targets(logits, np.array([1, 2]), 1.5)
    with pytest.raises(ValueError, match="classes"):
        deep_compression.soft_targets(logits, np.array([1, 2, 0]))


# ---------------------------------------------------------------- the plan


def test_the_plan_falls_to_the_target_and_rounds_to_the_end():
    plan = Plan(kept=100, steps=1000)
    assert plan.kept_at(0, 5000) == 5000 and plan.kept_at(500, 5000) == 100
    kept = [plan.kept_at(step, 5000) for step in range(1000)]
    assert kept == sorted(kept, reverse=True)
    rounded = [plan.rounded_at(step) for step in range(1000)]
    assert rounded == sorted(rounded) and rounded[599] == 0 and rounded[940] == 1
    assert plan.rate_at(300) == plan.learning_rate and plan.rate_at(999) < 1e-4 * plan.rounding_rate
    assert len(plan.drops()) == 8 and max(plan.drops()) == 500


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kept": 0}, "kept"),
        ({"levels": 0}, "levels"),
        ({"steps": 1.5}, "steps"),
        ({"stages": -1}, "stages"),
        ({"learning_rate": 0}, "learning_rate"),
        ({"bias_step": -1.0}, "bias_step"),
        ({"decay": 1.0}, "decay"),
        ({"prune_from": 0.0}, "above 0"),
        ({"prune_until": 0.05}, "prune_until"),
        ({"round_from": 0.4}, "before the next"),
        ({"round_until": 1.5}, r"\) to 1: each phase"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Plan(**{"kept": 10, **wrong})


def normalized():
    return tf_keras.Sequential(
        [tf_keras.Input((6, 6, 1)), K.Conv2D(4, 3), K.BatchNormalization(), K.Flatten(), K.Dense(3)]
    )


def branched():
    inputs = tf_keras.Input((12,))
    x = K.Dense(12, "relu")(inputs)
    return tf_keras.Model(inputs, K.Dense(3)(K.Add()([x, inputs])))


def sigmoid():
    return tf_keras.Sequential([tf_keras.Input((12,)), K.Dense(8, "sigmoid"), K.Dense(3)])


def activation_apart():
    return tf_keras.Sequential([tf_keras.Input((12,)), K.Dense(8), K.Activation("sigmoid"), K.Dense(3)])


def grouped():
    return tf_keras.Sequential([tf_keras.Input((6, 6, 2)), K.Conv2D(4, 3, groups=2), K.Flatten(), K.Dense(3)])


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (normalized, "fold"),
        (lambda: tf_keras.Sequential([tf_keras.Input((12,)), K.LayerNormalization(), K.Dense(3)]), "a LayerNorm"),
        (
            lambda: tf_keras.Sequential([tf_keras.Input((12,)), K.Embedding(9, 4), K.Flatten(), K.Dense(3)]),
            "an? Embedd",
        ),
        (branched, "chain"),
        (sigmoid, "relu"),
        (activation_apart, "relu"),
        (grouped, "groups"),
        (lambda: tf_keras.Sequential([tf_keras.Input((12,)), K.ReLU()]), "weights"),
    ],
)
def test_what_cannot_lose_units_is_refused(build, message):
    model = build()
    with pytest.raises(ValueError, match=message):
        deep_compression.train(model, PLAN, batches(model))


def test_batches_and_targets_that_do_not_fit_are_refused():
    model = dense()
    x, targets = next(batches(model))
    with pytest.raises(ValueError, match="probabilities"):
        deep_compression.train(model, PLAN, iter([(x, 2 * targets)]))
    with pytest.raises(ValueError, match="shape"):
        deep_compression.train(model, PLAN, iter([(x[:, :5], targets)]))
    with pytest.raises(ValueError, match="kept"):
        deep_compression.train(model, Plan(kept=10_000), batches(model))


SHORT = Plan(kept=60, levels=3, steps=30, stages=0)


def test_batches_that_end_or_are_no_pairs_are_refused():
    model = dense()
    pair = next(batches(model))
    with pytest.raises(ValueError, match=r"ended after 2 of 30 steps; .*itertools\.cycle"):
        deep_compression.train(model, SHORT, iter([pair] * 2))
    with pytest.raises(TypeError, match=r"batches is a list; .*itertools\.cycle"):
        deep_compression.train(model, SHORT, [pair] * 100)
    with pytest.raises(ValueError, match="pairs of inputs and probabilities"):
        deep_compression.train(model, SHORT, iter([(*pair, 1)]))
    wrong = np.tile(np.float32([2, -1] + [0] * (pair[1].shape[1] - 2)), (len(pair[0]), 1))
    with pytest.raises(ValueError, match="none below 0"):
        deep_compression.train(model, SHORT, iter([(pair[0], wrong)]))
    with pytest.raises(TypeError, match=r"plan is a dict; pass a Plan"):
        deep_compression.train(model, {"kept": 60}, batches(model))
    with pytest.raises(ValueError, match="every is 0"):
        deep_compression.train(model, SHORT, batches(model), report=print, every=0)


@pytest.mark.parametrize("steps", [30, 501])
def test_a_training_that_diverged_is_not_handed_back(steps):
    model = dense()
    x, targets = next(batches(model))
    lessons = itertools.chain([(x, targets)] * (steps - 1), itertools.repeat((np.full_like(x, np.nan), targets)))
    with pytest.raises(FloatingPointError, match=f"loss is nan after {steps} steps"):
        deep_compression.train(model, Plan(kept=60, levels=3, steps=steps, stages=0), lessons)


def test_a_network_of_which_nothing_is_left_is_not_handed_back():
    with pytest.raises(ValueError, match=r"a kernel has no weight left: .* keep more than 1 weights"):
        deep_compression.train(dense(), Plan(kept=1, levels=3, steps=30, stages=0), batches(dense()))


@pytest.mark.parametrize("last", ["softmax", "sigmoid"])
def test_probabilities_in_place_of_logits_are_refused(last):
    L = tf_keras.layers
    for layers in ([L.Dense(3, last, name="last")], [L.Dense(3), L.Activation(last, name="last")]):
        model = tf_keras.Sequential([tf_keras.Input((4,)), *layers])
        with pytest.raises(ValueError, match=f"'last', has the activation '{last}', but the loss is one of logits"):
            deep_compression.train(model, SHORT, iter(()))


def test_a_layer_that_does_not_learn_is_refused():
    model = dense()
    model.layers[0].trainable = False
    with pytest.raises(ValueError, match=f"layer '{model.layers[0].name}' is frozen; set its trainable"):
        deep_compression.train(model, SHORT, batches(model))
    whole = dense()
    whole.trainable = False
    with pytest.raises(ValueError, match="is frozen"):
        deep_compression.train(whole, SHORT, batches(whole))


@pytest.mark.parametrize("labels", [[-1, 0], [0, 3], [0.0, 1.0], [True, False], ["a", "b"]])
def test_labels_that_are_no_classes_are_refused(labels):
    with pytest.raises(ValueError, match="whole numbers from 0 to 2"):
        deep_compression.soft_targets(np.zeros((2, 3)), np.array(labels))


@pytest.mark.parametrize("row", [[np.nan, 0, 0], [np.inf, 0, 0], [-np.inf] * 3])
def test_logits_that_give_no_probabilities_are_refused(row):
    with pytest.raises(ValueError, match="NaN or infinity"):
        deep_compression.soft_targets(np.array([row, [0, 0, 0]]), np.array([0, 1]))
    assert deep_compression.soft_targets(np.array([[-np.inf, 0, 0]]), np.array([1]), 1.0).tolist() == [[0, 0.5, 0.5]]


def test_a_step_beyond_16_bits_is_kept_in_32():
    assert deep_compression.best_step(np.array([1e10], np.float32), 7) == pytest.approx(1e10, rel=1)


def test_a_trained_start_is_left_alone():
    model = dense()
    deep_compression.train(rebuild(model), Plan(kept=60, steps=30, stages=0), batches(model))
    for old, new in zip(model.get_weights(), dense().get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


# ---------------------------------------------------------------- the plan, number by number


def test_each_phase_of_the_plan_follows_its_formula():
    plan = Plan(kept=100, steps=1000)
    assert plan.kept_at(290, 10_000) == int(100 * 100 ** ((1 - 0.5) ** 2))  # half-way of 80 to 500
    assert plan.rounded_at(770) == pytest.approx(1 - 0.5**1.5)  # half-way of 600 to 940
    assert plan.rate_at(0) == pytest.approx(plan.learning_rate / 200)
    assert plan.rate_at(199) == plan.rate_at(499) == plan.learning_rate
    assert plan.rate_at(550) == pytest.approx(plan.learning_rate * (0.1 + 0.9 * 0.5))
    assert plan.rate_at(600) == plan.rounding_rate
    assert plan.rate_at(800) == pytest.approx(plan.rounding_rate * 0.5)
    assert Plan(kept=100, steps=1000, stages=2).drops() == {290, 500}
    assert Plan(kept=100, steps=1000, stages=0).drops() == set()


@pytest.mark.parametrize(
    "settings",
    [
        {"kept": 1, "levels": 1, "steps": 3, "stages": 0},
        {"decay": 0},
        {"prune_until": 0.6, "round_from": 0.6},
        {"round_until": 1.0},
    ],
)
def test_a_plan_may_go_to_its_edges(settings):
    plan = Plan(**{"kept": 10, **settings})
    assert plan.rate_at(0) > 0 and plan.kept_at(plan.steps, 10) == plan.kept


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"kept": True}, "kept is True"),
        ({"rounding_rate": 0}, "rounding_rate is 0"),
        ({"decay": -0.1}, "decay is -0.1"),
        ({"prune_until": 0.08}, "prune_until"),
        ({"round_until": 0.6}, "round_until"),
        ({"learning_rate": math.inf}, "learning_rate is inf"),
        ({"bias_step": math.nan}, "bias_step is nan"),
        ({"learning_rate": "fast"}, "learning_rate is 'fast'; pass a number"),
        ({"decay": "x"}, "decay is 'x'; pass a number"),
        ({"prune_from": None}, "prune_from is None; pass a number"),
        ({"rounding_rate": True}, "rounding_rate is True; pass a number"),
    ],
)
def test_a_plan_beyond_its_edges_is_refused(wrong, message):
    with pytest.raises(ValueError, match=message):
        Plan(**{"kept": 10, **wrong})


def test_kept_weights_are_chosen_every_100_steps_and_rounded_every_25():
    plan = Plan(kept=60, levels=3, steps=400, prune_from=0.2, prune_until=0.5, round_from=0.6, round_until=0.9)
    training, stream = Training(dense(), plan), batches(dense())
    kept, loose = [], []
    for step in range(360):
        training.advance(step, *next(stream))
        kept.append(sum(training.counts()))
        loose.append(sum(int(free.numpy().sum()) for free in training.free))
    assert [step for step in range(1, 240) if kept[step] != kept[step - 1]] == [100, 200]
    assert kept[200] <= 60 and min(kept) > 0
    changed = [step for step in range(241, 360) if loose[step] != loose[step - 1]]
    assert changed and all(step % 25 == 0 for step in changed)
    assert set(range(275, 351, 25)) <= set(changed)


def test_another_seed_rounds_other_weights_first():
    _, one = trained(dense)
    _, other = trained(dense, seed=1)
    assert any(not np.array_equal(a, b) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


def test_training_that_diverges_is_stopped():
    def broken():
        good = batches(dense())
        yield next(good)
        for x, targets in good:
            yield x * np.nan, targets

    late = Plan(kept=60, steps=500, stages=0, prune_from=0.99, prune_until=0.995, round_from=0.998, round_until=1.0)
    with pytest.raises(FloatingPointError, match="the loss is nan after 500 steps: pass a lower rate"):
        deep_compression.train(dense(), late, broken())


NO_CHAINS = [
    (K.Conv1DTranspose, (6, 4), {"kernel_size": 2}),
    (K.SeparableConv2D, (6, 6, 4), {"kernel_size": 2}),
    (K.LSTM, (6, 4), {}),
    (K.PReLU, (6, 4), {}),
    (K.Embedding, (6,), {"output_dim": 3}),
]


@pytest.mark.parametrize("kind, shape, settings", NO_CHAINS)
def test_no_other_layer_with_weights_can(kind, shape, settings):
    layer = kind(**settings) if kind is K.PReLU else kind(6, **settings)
    model = tf_keras.Sequential([tf_keras.Input(shape), layer, K.Flatten(), K.Dense(3)])
    with pytest.raises(ValueError, match=f"is a {kind.__name__}; pass a chain of Dense"):
        deep_compression.train(model, PLAN, batches(model))


def test_channels_that_come_first_and_shared_layers_are_refused():
    first = tf_keras.Sequential(
        [tf_keras.Input((2, 6, 6)), K.Conv2D(3, 2, data_format="channels_first"), K.Flatten(), K.Dense(3)]
    )
    with pytest.raises(ValueError, match="channels first"):
        deep_compression.train(first, PLAN, batches(first))
    start, shared = tf_keras.Input((12,)), K.Dense(12, "relu")
    twice = tf_keras.Model(start, K.Dense(3)(shared(shared(start))))
    with pytest.raises(ValueError, match="is no chain of layers"):
        deep_compression.train(twice, PLAN, batches(twice))


def test_targets_are_as_many_as_inputs_and_a_share_may_be_all_or_nothing():
    model = dense()
    x, targets = next(batches(model))
    with pytest.raises(ValueError, match="probabilities"):
        deep_compression.train(model, PLAN, iter([(x, targets[:5])]))
    logits, labels = np.array([[2.0, 0.0]]), np.array([1])
    np.testing.assert_allclose(deep_compression.soft_targets(logits, labels, 0), [[0, 1]], atol=1e-7)
    np.testing.assert_allclose(
        deep_compression.soft_targets(logits, labels, 1), [np.exp([2, 0]) / np.exp([2, 0]).sum()], rtol=1e-5
    )


def test_without_levels_zero_is_on_the_grid_and_with_them_it_is_not():
    values = np.float32([0.1, -0.1, 0.9, 5.0])
    np.testing.assert_array_equal(deep_compression.on_grid(values, 0.5, None), np.float32([0, 0, 1, 5]))
    np.testing.assert_array_equal(deep_compression.on_grid(values, 0.5, 3), np.float32([0.5, -0.5, 1, 1.5]))
    assert deep_compression.on_grid(np.float32([2.0]), 0.5, 7).dtype == np.float32


def test_the_cost_of_a_position_is_that_of_its_density():
    """All rows, columns and taps as dense as the whole: log2((1 - p) / p) and the sign, for p of a half just that."""
    half = np.indices((8, 8)).sum(0) % 2
    np.testing.assert_allclose(deep_compression.position_bits(half), 1.8, atol=1e-3)
    np.testing.assert_allclose(deep_compression.position_bits(np.ones((8, 8))), 0.8)
    few = (np.add.outer(np.arange(8), np.arange(8)) % 8 == 0).astype(float)  # one in each row and column
    np.testing.assert_allclose(deep_compression.position_bits(few), np.log2(7) + 1.8, atol=0.01)
    picture = np.zeros((2, 1, 8, 8))
    picture[0] = half
    bits = deep_compression.position_bits(picture)
    assert bits[0].max() < bits[1].min()


@pytest.mark.parametrize("steps, enough", [(2, False), (3, True)])
def test_rounding_needs_a_step_of_its_own(steps, enough):
    """It begins at 0.6 of the steps: 2 of 3 are done by then, of 2 only one."""
    model = dense()
    with contextlib.nullcontext() if enough else pytest.raises(ValueError, match="steps is 2, too few"):
        plan = Plan(kept=60, levels=3, steps=steps, stages=0)
        kernels = [layer.kernel.numpy() for layer in deep_compression.train(model, plan, batches(model)).layers]
        assert 0 < sum(np.count_nonzero(kernel) for kernel in kernels) <= 60
