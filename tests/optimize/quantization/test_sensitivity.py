"""Errors of single kernels, and the best bits for a size: compared with trying everything."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import tf_keras
from hypothesis import given, settings
from hypothesis import strategies as st

from utils.optimize import keras_graph, keras_weights
from utils.optimize.quantization import grid, sensitivity

K = tf_keras.layers


def dense():
    return tf_keras.Sequential([K.Dense(8, "relu", name="a/first"), K.Dense(3, name="last")])


def convolutions():
    x = inputs = tf_keras.Input((8, 8, 2))
    x = K.DepthwiseConv2D(3, name="depthwise")(x)
    x = K.Add()([K.Conv2D(4, 3, padding="same", name="one")(x), K.Conv2D(4, 1, name="two")(x)])
    return tf_keras.Model(inputs, K.Dense(3)(K.GlobalAveragePooling2D()(x)))


def attention():
    x = inputs = tf_keras.Input((5, 8))
    x = K.MultiHeadAttention(2, 4)(x, x)
    return tf_keras.Model(inputs, [K.Dense(2)(x), K.LSTM(3)(x)])


@pytest.fixture(
    scope="module", params=[(dense, (6,)), (convolutions, (8, 8, 2)), (attention, (5, 8))], ids=lambda p: p[0].__name__
)
def case(request):
    build, shape = request.param
    tf_keras.utils.set_random_seed(1)
    model, x = build(), np.random.default_rng(0).normal(size=(16, *shape)).astype("float32")
    model(x)
    before = [weight.copy() for weight in model.get_weights()]
    rows = sensitivity.measure(model, x, bits=(2, 4, 8))
    for old, new in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new, "the model itself is left alone")
    return model, x, rows


def test_each_kernel_at_each_number_of_bits(case):
    model, _, rows = case
    names = [kernel.name for kernel in keras_weights.kernels(model)]
    assert [(row["kernel"], row["bits"]) for row in rows] == list(itertools.product(names, (2, 4, 8)))
    for name in names:
        two, four, eight = (row for row in rows if row["kernel"] == name)
        assert two["bytes"] < four["bytes"] < eight["bytes"]
        assert two["loss"] > eight["loss"] >= 0


def test_bytes_are_whole_bytes_and_a_float_for_each_channel(case):
    model, _, rows = case
    size = {kernel.name: kernel for kernel in keras_weights.kernels(model)}
    for row in rows:
        kernel = size[row["kernel"]]
        shape = tuple(kernel.variable.shape)
        scales = np.prod([shape[axis] for axis in kernel.channels])
        assert row["bytes"] == -(-int(np.prod(shape)) * row["bits"] // 8) + 4 * scales
    odd = sensitivity.measure(tf_keras.Sequential([K.Input((3,)), K.Dense(3)]), np.eye(3, dtype="float32"), bits=(4,))
    assert [row["bytes"] for row in odd] == [5 + 12]  # nine numbers of 4 bits fill four bytes and a half


def test_a_loss_is_that_of_the_copy_with_this_kernel_alone(case):
    model, x, rows = case
    row = rows[0]
    plain, copy = (each(x, training=False) for each in (model, sensitivity.rounded(model, {row["kernel"]: 2})))
    pairs = list(zip(*(out if isinstance(out, list) else [out] for out in (plain, copy)), strict=True))
    noise = np.mean([np.mean((np.asarray(a) - b) ** 2) for a, b in pairs])
    power = np.mean([np.var(a) for a, _ in pairs])
    assert row["loss"] == pytest.approx(100 * noise / power, rel=1e-3)


def test_all_kernels_at_once_are_the_grids(case):
    model, *_ = case
    names = [kernel.name for kernel in keras_weights.kernels(model)]
    ours, theirs = sensitivity.rounded(model, dict.fromkeys(names, 4)), grid.with_quantized_weights(model, 4)
    for a, b in zip(ours.get_weights(), theirs.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def rows_of(table):
    return [
        {"kernel": f"k{i}", "bits": bits, "bytes": size, "loss": loss}
        for i, options in enumerate(table)
        for bits, (size, loss) in zip((2, 4, 8), options, strict=True)
    ]


OPTIONS = st.tuples(*[st.tuples(st.integers(1, 60), st.integers(0, 50))] * 3)


@settings(deadline=None, max_examples=60)
@given(table=st.lists(OPTIONS, min_size=1, max_size=4), part=st.floats(0, 1))
def test_no_other_choice_is_better(table, part):
    rows = rows_of(table)
    least, most = (sum(pick(size for size, _ in options) for options in table) for pick in (min, max))
    budget = least + part * (most - least)
    found = sensitivity.choose_bits(rows, budget)

    def of(chosen):
        picked = [options[(2, 4, 8).index(chosen[f"k{i}"])] for i, options in enumerate(table)]
        return tuple(map(sum, zip(*picked, strict=True)))

    size, loss = of(found)
    every = [of({f"k{i}": b for i, b in enumerate(bits)}) for bits in itertools.product((2, 4, 8), repeat=len(table))]
    assert size <= budget and loss == min(other for bytes_, other in every if bytes_ <= budget)


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: sensitivity.choose_bits([], 10), "rows is empty"),
        (lambda: sensitivity.choose_bits(rows_of([((10, 1), (20, 0), (30, 0))]), 9), "need 10 bytes"),
        (lambda: sensitivity.rounded(convolutions(), {"nothing": 4}), "no kernels .*depthwise"),
        (lambda: sensitivity.measure(convolutions(), np.zeros((4, 8, 8, 2), "float32")), "the same for all of x"),
    ],
)
def test_bad_input_is_answered(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_budget_may_be_used_up_and_equal_losses_take_the_fewest_bytes():
    rows = rows_of([((10, 3), (20, 1), (30, 1)), ((5, 4), (6, 2), (7, 0))])
    assert sensitivity.choose_bits(rows, 15) == {"k0": 2, "k1": 2}
    assert sensitivity.choose_bits(rows, 27) == {"k0": 4, "k1": 8}
    assert sensitivity.choose_bits(rows, 1000) == {"k0": 4, "k1": 8}
    with pytest.raises(ValueError, match="the fewest bits need 15 bytes; the budget is 14"):
        sensitivity.choose_bits(rows, 14)


def test_kernels_that_are_not_there_are_listed_in_order():
    model = tf_keras.Sequential([K.Input((3,)), K.Dense(3, name="it")])
    with pytest.raises(ValueError, match=r"\['a', 'b', 'c', 'd'\] are no kernels of '.*'; it has it/kernel"):
        sensitivity.rounded(model, dict.fromkeys("dbca", 4))


def test_a_model_with_two_inputs_is_measured_on_both():
    a, b = K.Input((3,)), K.Input((4,))
    model = tf_keras.Model([a, b], K.Add()([K.Dense(2, name="left")(a), K.Dense(2, name="right")(b)]))
    x = [np.random.default_rng(i).normal(size=(8, n)).astype("float32") for i, n in enumerate((3, 4))]
    rows = sensitivity.measure(model, x)
    assert [row["bits"] for row in rows] == [4, 8, 4, 8] and all(row["loss"] > 0 for row in rows)


def towers():
    """Two models inside whose layers have the same names."""
    start = tf_keras.Input((6,))
    sides = [
        tf_keras.Sequential([K.Input((6,)), K.Dense(4, "relu", name="one"), K.Dense(3, name="two")], name=name)
        for name in ("left", "right")
    ]
    return tf_keras.Model(start, K.Add()([side(start) for side in sides]))


def test_two_kernels_of_one_name_are_refused_with_a_way_out_that_works():
    tf_keras.utils.set_random_seed(5)
    model, x = towers(), np.random.default_rng(0).normal(size=(20, 6)).astype("float32")
    for call in (lambda: sensitivity.measure(model, x), lambda: sensitivity.rounded(model, {"one/kernel": 2})):
        with pytest.raises(
            ValueError, match=r"several kernels of the name 'one/kernel', 'two/kernel', .*opened\(model\)"
        ):
            call()
    apart = keras_graph.opened(model)
    rows = sensitivity.measure(apart, x, bits=[2])
    assert len({row["kernel"] for row in rows}) == 4
    before = keras_weights.kernels(apart)
    for row in rows:
        after = keras_weights.kernels(sensitivity.rounded(apart, {row["kernel"]: 2}))
        changed = [a.name for a, b in zip(before, after, strict=True) if not np.array_equal(a.variable, b.variable)]
        assert changed == [row["kernel"]]


@pytest.mark.parametrize("loss, budget", [(np.nan, 9), (np.inf, 9), (1.0, np.nan)])
def test_what_is_no_number_is_no_choice(loss, budget):
    with pytest.raises(ValueError, match="pass finite losses and a budget in bytes"):
        sensitivity.choose_bits([{"kernel": "a", "bits": 4, "bytes": 3, "loss": loss}], budget)
